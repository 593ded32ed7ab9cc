/**
 * The two demo sales: the first start writes them into the ledger, and a worker opens their
 * inventories; later starts do not reset them.
 */
import { randomUUID } from 'node:crypto';
import { connectPostgres } from '@flash-sale/core/ledger/connect-postgres.ts';
import { createSaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import { createLogger, STDERR } from '@flash-sale/core/runtime/logging.ts';
import { callOperatorApi, type Operator } from './operator-api.ts';

const OPEN_FOR_MS = 24 * 3_600_000;
const ANSWER_MS = 5_000;

const DEMO_SALES = [
  {
    id: 'product1',
    name: 'Limited Edition Gadget',
    description: 'Ten units; a buyer may order all of them.',
    originalPrice: '199.99',
    flashSalePrice: '99.99',
    currency: 'USD',
    units: 10,
    perBuyerLimit: 0,
  },
  {
    id: 'product2',
    name: 'Everyday Headphones',
    description: 'A thousand units, one per buyer.',
    originalPrice: '79.00',
    flashSalePrice: '39.50',
    currency: 'USD',
    units: 1_000,
    perBuyerLimit: 1,
  },
];

interface FoundDemoSale {
  readonly sale: (typeof DEMO_SALES)[number];
  /** Whether this start created it. */
  readonly isNew: boolean;
  /** scheduled, active, paused or ended. */
  readonly state: string;
  /** Units. */
  readonly available: number;
}

/** Creates those that the ledger lacks. @returns their ids */
export async function createDemoSales(databaseUrl: string): Promise<string[]> {
  const log = createLogger('demo-sales', 'info', STDERR);
  const pool = connectPostgres({ url: databaseUrl, size: 1, timeoutMs: ANSWER_MS, name: 'flash-sale-demo', log });
  const operator = { actor: 'DEMO_SALES=on', requestId: randomUUID() };
  const created: string[] = [];
  try {
    for (const sale of DEMO_SALES) {
      if (await createSaleStore(pool).create({ ...sale, ...dayFromNow() }, operator)) created.push(sale.id);
    }
    return created;
  } finally {
    await pool.end();
  }
}

/** @returns the current state of each @throws Error while an inventory is rebuilt */
export async function findDemoSales(operator: Operator, created: readonly string[]): Promise<FoundDemoSale[]> {
  const found: FoundDemoSale[] = [];
  for (const sale of DEMO_SALES) {
    const { body } = await callOperatorApi(operator, `/${sale.id}`, [200]);
    const isNew = created.includes(sale.id);
    found.push({ sale, isNew, state: String(body.state), available: Number(body.available) });
  }
  return found;
}

/** "product1 created", "product1 kept (sold out)" */
export function describeDemoSale({ sale: { id }, isNew, state, available }: FoundDemoSale): string {
  if (isNew) return `${id} created`;
  if (state !== 'active') return `${id} kept (${state})`;
  return `${id} kept (${available === 0 ? 'sold out' : `${available} left`})`;
}

export function isOpen({ state, available }: FoundDemoSale): boolean {
  return state === 'active' && available > 0;
}

/**
 * Opens both sales for a day and refills them to their initial units.
 *
 * @returns a line for each sale
 */
export async function reopenDemoSales(operator: Operator): Promise<string[]> {
  const lines: string[] = [];
  for (const { sale, available } of await findDemoSales(operator, [])) {
    const { id, units, perBuyerLimit } = sale;
    const delta = Math.max(units - available, 0);
    const [starts_at, ends_at] = Object.values(dayFromNow()).map((ms) => new Date(ms).toISOString());
    await callOperatorApi(operator, `/${id}/window`, [200], { starts_at, ends_at });
    if (delta > 0) await callOperatorApi(operator, `/${id}/stock`, [200], { delta, reason: 'demo reopened' });
    const hint = perBuyerLimit > 0 ? '; buyers keep what they hold, so order as another X-User-ID' : '';
    lines.push(`${id}: open for a day, ${delta} more, ${available + delta} available${hint}`);
  }
  return lines;
}

function dayFromNow(): { startsAt: number; endsAt: number } {
  // biome-ignore lint/plugin/wall-time: the sale's window
  const startsAt = Date.now();
  return { startsAt, endsAt: startsAt + OPEN_FOR_MS };
}

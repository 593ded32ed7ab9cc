/**
 * The two demo sales: the first start creates them through the operators' API; later starts do not
 * reset them.
 */
import { callOperatorApi, type Operator } from './operator-api.ts';

const OPEN_FOR_MS = 24 * 3_600_000;

const DEMO_SALES = [
  {
    product_id: 'product1',
    name: 'Limited Edition Gadget',
    description: 'Ten units; a buyer may order all of them.',
    original_price: '199.99',
    flash_sale_price: '99.99',
    currency: 'USD',
    units: 10,
    per_buyer_limit: 0,
  },
  {
    product_id: 'product2',
    name: 'Everyday Headphones',
    description: 'A thousand units, one per buyer.',
    original_price: '79.00',
    flash_sale_price: '39.50',
    currency: 'USD',
    units: 1_000,
    per_buyer_limit: 1,
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

/** Creates those that do not exist. @returns their ids */
export async function createDemoSales(operator: Operator): Promise<string[]> {
  const created: string[] = [];
  for (const sale of DEMO_SALES) {
    const { status } = await callOperatorApi(operator, '', [201, 409], { ...sale, ...dayFromNow() });
    if (status === 201) created.push(sale.product_id);
  }
  return created;
}

/** @returns the current state of each @throws Error while an inventory is rebuilt */
export async function findDemoSales(operator: Operator, created: readonly string[]): Promise<FoundDemoSale[]> {
  const found: FoundDemoSale[] = [];
  for (const sale of DEMO_SALES) {
    const { body } = await callOperatorApi(operator, `/${sale.product_id}`, [200]);
    const isNew = created.includes(sale.product_id);
    found.push({ sale, isNew, state: String(body.state), available: Number(body.available) });
  }
  return found;
}

/** "product1 created", "product1 kept (sold out)" */
export function describeDemoSale({ sale: { product_id: id }, isNew, state, available }: FoundDemoSale): string {
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
  for (const { sale, isNew, available } of await findDemoSales(operator, await createDemoSales(operator))) {
    const { product_id: id, units, per_buyer_limit: cap } = sale;
    const delta = Math.max(units - available, 0);
    if (!isNew) {
      await callOperatorApi(operator, `/${id}/window`, [200], dayFromNow());
      if (delta > 0) await callOperatorApi(operator, `/${id}/stock`, [200], { delta, reason: 'demo reopened' });
    }
    const hint = cap && !isNew ? '; buyers keep what they hold, so order as another X-User-ID' : '';
    lines.push(`${id}: open for a day, ${isNew ? 'new' : `${delta} more`}, ${available + delta} available${hint}`);
  }
  return lines;
}

function dayFromNow(): { starts_at: string; ends_at: string } {
  // biome-ignore lint/plugin/wall-time: the sale's window
  const now = Date.now();
  return { starts_at: new Date(now).toISOString(), ends_at: new Date(now + OPEN_FOR_MS).toISOString() };
}

/**
 * Reads Redis, PostgreSQL and the queue, and checks that the numbers of each sale agree. A sale may
 * be live. The stores are not read at one instant, so a violation is reported only if
 * several snapshots in a row contain it.
 */
import type { Keys } from '@flash-sale/core/inventory/keys.ts';
import { listInventories } from '@flash-sale/core/inventory/list-inventories.ts';
import { readOpenJobs } from '@flash-sale/core/queue/order-queue.ts';
import type { AnyRedis } from '@flash-sale/core/runtime/redis/open-redis.ts';
import type { Pool } from 'pg';
import { type AuditReport, listViolations, type SaleAudit, type Violation } from './audit-report.ts';
import { checkOrderKeys } from './check-order-keys.ts';
import { checkSale, readEquation, violation } from './checks.ts';
import { listSaleIds } from './read-ledger.ts';
import { type AuditedJob, numbersOf, readSnapshot, type SaleSnapshot, type SaleStores } from './read-snapshot.ts';

export interface AuditOptions {
  readonly redis: AnyRedis;
  readonly pool: Pool;
  readonly keys: Keys;
  /** Every sale that the ledger, Redis or a job has, if left out. */
  readonly saleIds?: readonly string[];
  /** Snapshots in a row that must contain a violation. */
  readonly snapshots?: number;
  /** Milliseconds between two of them. */
  readonly pauseMs?: number;
  /** Milliseconds within which an order or a stock change ends (I3). Younger ones may be open. */
  readonly settleMs?: number;
  /** Milliseconds that an inventory may stay closed or missing: a worker rebuilds it. */
  readonly closedMs?: number;
  /** Milliseconds after which a sale counts as unchecked: its inventory is rebuilt repeatedly. */
  readonly maxMs?: number;
}

const DEFAULTS = { snapshots: 3, pauseMs: 250, settleMs: 30_000, closedMs: 30_000, maxMs: 120_000 };

/** @throws Error if there is no such sale, or if Redis or PostgreSQL cannot be read */
export async function auditSales(options: AuditOptions): Promise<AuditReport> {
  const { redis, pool, keys, saleIds, ...given } = options;
  const bounds = { ...DEFAULTS, ...given };
  // biome-ignore lint/plugin/wall-time: when it was made
  const at = new Date().toISOString();
  let jobs = await readJobs(redis, keys);
  const queue = createSuspects(bounds.snapshots);
  // Read first: a sale is in the ledger before it has an inventory.
  const inRedis = saleIds ? [] : await listInventories(redis, keys);
  const ids = saleIds ?? [...(await listSaleIds(pool)), ...inRedis, ...jobs.bySale.keys()];
  const audits = new Map(
    ids.map((saleId) => [saleId, startAudit({ redis, pool, saleKeys: keys.sale(saleId), saleId }, bounds)]),
  );
  for (;;) {
    if (!queue.isDecided()) queue.add(jobs.unreadable);
    const open = [...audits].filter(([, audit]) => !audit.isDone());
    for (const [saleId, audit] of open) await audit.takeSnapshot(jobs.bySale.get(saleId) ?? []);
    if (queue.isDecided() && open.every(([, audit]) => audit.isDone())) break;
    await new Promise((resolve) => setTimeout(resolve, bounds.pauseMs));
    jobs = await readJobs(redis, keys);
  }
  const sales = [...audits.values()].map((audit) => audit.result());
  const violations = listViolations(queue.violations());
  return {
    at,
    clean: violations.length === 0 && sales.every((sale) => sale.violations.length === 0 && sale.unchecked === null),
    snapshots: Math.max(queue.count(), ...[...audits.values()].map((audit) => audit.snapshots())),
    sales,
    queue: { violations },
  };
}

/** The jobs of the queue that are not done, by sale, and those that cannot be read. */
async function readJobs(redis: AnyRedis, keys: Keys) {
  const jobs: AuditedJob[] = [];
  const unreadable: Violation[] = [];
  for (const { id, batch } of await readOpenJobs(redis, keys.queuePrefix)) {
    if (batch) jobs.push({ id, ...batch });
    else unreadable.push(violation('JOB_UNREADABLE', id, 'The data of this job is not a batch of orders.'));
  }
  return { bySale: Map.groupBy(jobs, ({ saleId }) => saleId), unreadable };
}

/** What every snapshot contained. Decided once it is empty, or enough snapshots were taken. */
function createSuspects(needed: number) {
  let suspects: readonly Violation[] = [];
  let count = 0;
  return {
    add(found: readonly Violation[]): void {
      const nameOf = ({ code, subject }: Violation): string => `${code} ${subject}`;
      const before = new Set(suspects.map(nameOf));
      suspects = count === 0 ? found : found.filter((one) => before.has(nameOf(one)));
      count += 1;
    },
    isDecided: (): boolean => count > 0 && (suspects.length === 0 || count >= needed),
    violations: () => suspects,
    count: () => count,
  };
}

/** Audits one sale. Starts again when the inventory closes, opens or changes its epoch. */
function startAudit(stores: SaleStores, bounds: typeof DEFAULTS) {
  const startedAt = performance.now();
  let phase = { name: '', since: startedAt };
  let phases = 0;
  let suspects = createSuspects(bounds.snapshots);
  let last: SaleSnapshot | null = null;
  let live = false;
  let unchecked: string | null = null;
  /** Set once it is done. */
  let violations: readonly Violation[] | null = null;

  return {
    async takeSnapshot(jobs: readonly AuditedJob[]): Promise<void> {
      const snapshot = await readSnapshot(stores, jobs, bounds.settleMs);
      const { state, ledger, inventory } = snapshot;
      if (isUnknown(snapshot)) {
        throw new Error(`There is no sale "${stores.saleId}", neither in the ledger nor in Redis.`);
      }
      const now = performance.now();
      const name = `${state} ${ledger?.sale.epoch}`;
      if (name !== phase.name) {
        phase = { name, since: now };
        phases += 1;
        suspects = createSuspects(bounds.snapshots);
      }
      live ||= snapshot.moved || (last !== null && numbersOf(last.inventory) !== numbersOf(inventory));
      last = snapshot;
      const found = checkSale(snapshot);
      if (ledger && (state === 'closed' || state === 'missing')) {
        const closedMs = now - phase.since;
        if (closedMs >= bounds.closedMs) violations = [closedFor(closedMs, snapshot), ...found];
      } else {
        if (ledger && state === 'open' && inventory.wrongType === null) found.push(...(await checkOrderKeys(stores)));
        suspects.add(found);
        if (suspects.isDecided()) violations = suspects.violations();
      }
      if (violations === null && now - startedAt >= bounds.maxMs) {
        const time = Math.round((now - startedAt) / 1_000);
        unchecked = `In ${time} s the inventory was closed, lost or rebuilt ${phases - 1} times. Run the audit again later.`;
        violations = [];
      }
    },

    isDone: () => violations !== null,
    snapshots: () => suspects.count(),

    result(): SaleAudit {
      const { ledger, state, inventory } = last as SaleSnapshot;
      const { allotment = 0, sold = 0, epoch = null } = ledger?.sale ?? {};
      return {
        saleId: stores.saleId,
        epoch,
        inventory: state,
        equation: state === 'open' ? readEquation(inventory) : null,
        ledger: { allotment, sold, confirmed: ledger?.confirmedOrders ?? 0, rejected: ledger?.rejectedOrders ?? 0 },
        live,
        unchecked,
        violations: listViolations(violations ?? []),
      };
    },
  };
}

function isUnknown({ ledger, inventory, jobs }: SaleSnapshot): boolean {
  const inRedis = inventory.fields.size > 0 || inventory.reservations.size > 0 || inventory.wrongType !== null;
  return ledger === null && !inRedis && jobs.length === 0;
}

function closedFor(ms: number, { state }: SaleSnapshot): Violation {
  const time = `${Math.round(ms / 1_000)} s`;
  return state === 'missing'
    ? violation('INVENTORY_MISSING', 'inventory', `Redis had no inventory of this sale for ${time}.`)
    : violation('INVENTORY_CLOSED', 'inventory', `The inventory was closed for ${time}: no worker rebuilt it.`);
}

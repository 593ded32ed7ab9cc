/** Finds accepted orders that neither ledger nor inventory has, and redelivers them unchanged. */
import type { Environment } from '@flash-sale/core/config/environment.ts';
import type { AcceptedOrder, OrderBatch, OrderOutcome, RejectionReason } from '@flash-sale/core/domain/order.ts';
import { createInventory, type Inventory } from '@flash-sale/core/inventory/inventory.ts';
import { createKeys } from '@flash-sale/core/inventory/keys.ts';
import { createOrderStore, type OrderStore } from '@flash-sale/core/ledger/order-store.ts';
import { createSaleStore, type SaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import { createOrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import { ACCEPTED } from '@flash-sale/core/runtime/accepted-log.ts';
import { connectStores } from '../connect-stores.ts';
import { findLogs, LOST_LOOKUP_CHUNK, readAcceptedLogs, reportLogs, reportSkipped } from './accepted-log-files.ts';

/** Longest wait, in ms, for the next order to reach a final state: twice the bound of I3. */
const NO_PROGRESS_MS = 60_000;

/** Older than every real epoch: the worker readmits the order if units are left. */
const EPOCH = 0;

export interface Recovery {
  readonly redisUrl: string;
  readonly databaseUrl: string;
  readonly settings: Pick<Environment, 'KEY_PREFIX'>;
  /** Files or folders, as findLogs takes them. */
  readonly files: readonly string[];
  /** Reports what is lost and changes nothing. */
  readonly dryRun: boolean;
  readonly say: (line: string) => void;
}

type Stores = { inventory: Inventory; orders: OrderStore; sales: SaleStore };

/**
 * @returns whether every file was read, the ledger knows every sale, and every lost order has ended
 * @throws Error with a message for the operator if the logs have no accepted order
 */
export async function recoverOrders(recovery: Recovery): Promise<boolean> {
  const { redisUrl, databaseUrl, settings, files, dryRun, say } = recovery;
  const { KEY_PREFIX: prefix } = settings;
  const keys = createKeys(prefix);
  const { redis, pool, close } = await connectStores({ redisUrl, databaseUrl, prefix }, 'flash-sale-recover');
  try {
    const orders = createOrderStore(pool);
    const stores = { inventory: createInventory({ redis, keys }), orders, sales: createSaleStore(pool) };
    const isAllRead = reportSkipped(files, say);
    const found = await findLost(stores, files, say);
    reportFound(found, say);
    const isComplete = isAllRead && found.unknown.size === 0;
    if (dryRun) return isComplete;
    for (const { saleId, order, reason } of found.rejected) await orders.reject(saleId, [order], reason);
    if (found.lost.length === 0) return isComplete;
    const queue = createOrderQueue({ redis, prefix: keys.queuePrefix });
    await queue.add(found.lost);
    await queue.close();
    return (await waitForEnds(orders, found.lost, say)) && isComplete;
  } finally {
    await close();
  }
}

interface Found {
  /** Accepted orders of sales that the ledger knows, each counted once. */
  readonly inLog: number;
  readonly lost: readonly OrderBatch[];
  /** Lost orders that a worker's log has as rejected. Buyers may have seen it, so it stays (I7). */
  readonly rejected: readonly { saleId: string; order: AcceptedOrder; reason: RejectionReason }[];
  /** Number of orders by sale that is not in the ledger: no worker can confirm or reject them. */
  readonly unknown: ReadonlyMap<string, number>;
}

function reportFound({ inLog, lost, rejected, unknown }: Found, say: Recovery['say']): void {
  const missing = lost.reduce((sum, batch) => sum + batch.orders.length, rejected.length);
  say(`${inLog} accepted ${inLog === 1 ? 'order' : 'orders'} in the log, ${missing} of them lost.`);
  for (const [saleId, orders] of unknown) {
    say(
      `${orders} more in a sale that is not in the ledger: ${saleId}. Is this the right database, or was it restored from a backup before the sale? They are skipped.`,
    );
  }
  if (rejected.length > 0) say(`Rejected according to a worker's log, and recovered as rejected: ${rejected.length}.`);
  for (const batch of lost) for (const order of batch.orders) say(`  ${order.id}  ${order.buyerId}  ${order.quantity}`);
}

/** @throws Error if the logs have no accepted order */
async function findLost(stores: Stores, files: readonly string[], say: Recovery['say']): Promise<Found> {
  // About 70 bytes an order. An order may be in several files.
  const seen = new Set<string>();
  const unknown = new Map<string, number>();
  const reasons = new Map<string, RejectionReason>();
  const missing = new Map<string, AcceptedOrder[]>();
  const onRejected = ({ id, reason }: { id: string; reason: RejectionReason }) => void reasons.set(id, reason);
  for await (const chunk of readAcceptedLogs(files, { onRejected, ...reportLogs(say) })) {
    const fresh = chunk.filter(({ order }) => !seen.has(order.id) && seen.add(order.id));
    for (const [saleId, logged] of Map.groupBy(fresh, (one) => one.saleId)) {
      const isKnown = missing.has(saleId) || (!unknown.has(saleId) && (await stores.sales.find(saleId)) !== null);
      const orders = logged.map(({ order }) => order);
      if (!isKnown) unknown.set(saleId, (unknown.get(saleId) ?? 0) + orders.length);
      else missing.set(saleId, [...(missing.get(saleId) ?? []), ...(await withoutOutcome(stores, saleId, orders))]);
    }
  }
  if (seen.size === 0) {
    const read = [...new Set(files.flatMap((one) => findLogs(one).files))].join(', ');
    throw new Error(
      `No accepted order is in ${read}: no line "${ACCEPTED}". Name the logs of all API processes, including rotated ones.`,
    );
  }
  const lost: OrderBatch[] = [];
  const rejected: Found['rejected'][number][] = [];
  // After all files: the line of a worker may be in a later file than that of the API.
  for (const [saleId, orders] of missing) {
    for (const order of orders) {
      const reason = reasons.get(order.id);
      if (reason !== undefined) rejected.push({ saleId, order, reason });
    }
    const others = orders.filter(({ id }) => !reasons.has(id));
    if (others.length > 0) lost.push({ saleId, epoch: EPOCH, orders: others });
  }
  const ofUnknown = [...unknown.values()].reduce((sum, orders) => sum + orders, 0);
  return { inLog: seen.size - ofUnknown, lost, rejected, unknown };
}

/** Inventory first: a reservation is deleted after the ledger has the order, so none is missed. */
async function withoutOutcome(
  stores: Stores,
  saleId: string,
  orders: readonly AcceptedOrder[],
): Promise<AcceptedOrder[]> {
  const ids = orders.map((order) => order.id);
  const reserved = await stores.inventory.reservedAmong(saleId, ids);
  const ended = new Set((await stores.orders.outcomesOf(ids)).map((outcome) => outcome.id));
  return orders.filter((order) => !reserved.has(order.id) && !ended.has(order.id));
}

/** @returns false if no order has reached a final state for NO_PROGRESS_MS */
async function waitForEnds(
  orders: Pick<OrderStore, 'outcomesOf'>,
  lost: readonly OrderBatch[],
  say: Recovery['say'],
): Promise<boolean> {
  let waiting = lost.flatMap((batch) => batch.orders.map((order) => order.id));
  const outcomes: OrderOutcome[] = [];
  for (let deadline = performance.now() + NO_PROGRESS_MS; waiting.length > 0 && performance.now() < deadline; ) {
    await new Promise((resolve) => setTimeout(resolve, 200));
    const before = outcomes.length;
    // Workers take them in order, so the ended ones are at the front.
    for (let at = 0; at < waiting.length; at += LOST_LOOKUP_CHUNK) {
      const ended = await orders.outcomesOf(waiting.slice(at, at + LOST_LOOKUP_CHUNK));
      outcomes.push(...ended);
      if (ended.length === 0) break;
    }
    if (outcomes.length === before) continue;
    const ended = new Set(outcomes.slice(before).map(({ id }) => id));
    waiting = waiting.filter((id) => !ended.has(id));
    deadline = performance.now() + NO_PROGRESS_MS;
  }
  const byEnd = Map.groupBy(outcomes, (one) => (one.status === 'confirmed' ? 'confirmed' : `rejected (${one.reason})`));
  for (const [end, ended] of byEnd) say(`${ended.length} ${end}`);
  if (waiting.length === 0) return true;
  say(`${waiting.length} not finished yet. Is a worker running? Run the command again later; it is safe to repeat.`);
  return false;
}

/** Finds the accepted orders that neither ledger nor inventory has, and redelivers them with the ids that their buyers know. */
import type { Environment } from '@flash-sale/core/config/environment.ts';
import { LOST_LOOK_CHUNK } from '@flash-sale/core/config/limits.ts';
import type { AcceptedOrder, OrderBatch, OrderOutcome, RejectionReason } from '@flash-sale/core/domain/order.ts';
import { createInventory, type Inventory } from '@flash-sale/core/inventory/inventory.ts';
import { createKeys } from '@flash-sale/core/inventory/keys.ts';
import { connectPostgres } from '@flash-sale/core/ledger/connect-postgres.ts';
import { createOrderStore, type OrderStore } from '@flash-sale/core/ledger/order-store.ts';
import { createSaleStore, type SaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import { createOrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import { ACCEPTED } from '@flash-sale/core/runtime/accepted-log.ts';
import { createLogger } from '@flash-sale/core/runtime/logging.ts';
import { connectForRequests } from '@flash-sale/core/runtime/redis/connect-redis.ts';
import { findLogs, readAcceptedLogs } from './accepted-log-files.ts';
import { countDistinct } from './distinct-ids.ts';
import { findLostOrders } from './find-lost-orders.ts';
import { reportLogs, reportSkipped } from './report-logs.ts';

/** Milliseconds within which the workers end one more of the orders: twice the bound of I3. */
const ENDED_WITHIN_MS = 60_000;

export interface Recovery {
  readonly redisUrl: string;
  readonly databaseUrl: string;
  readonly settings: Pick<Environment, 'KEY_PREFIX' | 'REQUEST_TIMEOUT_MS'>;
  /** As of findLogs. */
  readonly files: readonly string[];
  /** Reports what is lost and changes nothing. */
  readonly dryRun: boolean;
  readonly say: (line: string) => void;
}

type Stores = { inventory: Inventory; orders: OrderStore; sales: SaleStore };

/**
 * @returns whether every file was read, every order is of a sale that the ledger knows, and every lost order has ended
 * @throws Error with a sentence if nothing could be looked for
 */
export async function recoverOrders(recovery: Recovery): Promise<boolean> {
  const { redisUrl, databaseUrl, settings, files, dryRun, say } = recovery;
  const log = createLogger('recover-orders', 'warn');
  const timeoutMs = settings.REQUEST_TIMEOUT_MS;
  const keys = createKeys(settings.KEY_PREFIX);
  const { redis, connect, close } = connectForRequests({ url: redisUrl, name: 'recover-orders', log, timeoutMs });
  const pool = connectPostgres({ url: databaseUrl, size: 2, timeoutMs, name: 'flash-sale-recover', log });
  try {
    await connect();
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
    await Promise.all([close(), pool.end()]);
  }
}

interface RejectedOrder {
  readonly saleId: string;
  readonly order: AcceptedOrder;
  readonly reason: RejectionReason;
}

interface Found {
  /** Accepted orders of sales that the ledger knows, each counted once. */
  readonly inLog: number;
  readonly lost: readonly OrderBatch[];
  /** Lost orders that a worker's log calls rejected: their buyers may have read that (I7), so they stay rejected. */
  readonly rejected: readonly RejectedOrder[];
  /** Orders by sale that the ledger does not know: no worker can end them. */
  readonly unknown: ReadonlyMap<string, number>;
}

function reportFound({ inLog, lost, rejected, unknown }: Found, say: Recovery['say']): void {
  const missing = lost.reduce((sum, batch) => sum + batch.orders.length, rejected.length);
  say(`${inLog} accepted ${inLog === 1 ? 'order' : 'orders'} in the log, ${missing} of them lost.`);
  for (const [saleId, orders] of unknown) {
    say(
      `${orders} more of a sale that the ledger does not know: ${saleId}. Is it the right database, or was it restored from before the sale? They are left alone.`,
    );
  }
  if (rejected.length > 0) say(`${rejected.length} of these were rejected, by a worker's log, and stay so.`);
  for (const batch of lost) for (const order of batch.orders) say(`  ${order.id}  ${order.buyerId}  ${order.quantity}`);
}

/** Reads the logs in chunks: only lost orders are kept in memory. @throws Error if they have no accepted order at all */
async function findLost(stores: Stores, files: readonly string[], say: Recovery['say']): Promise<Found> {
  const unknown = new Map<string, ReturnType<typeof countDistinct>>();
  const known = countDistinct();
  const reasons = new Map<string, RejectionReason>();
  const found = new Map<string, { batch: OrderBatch; orders: Map<string, AcceptedOrder> }>();
  const onRejected = ({ id, reason }: { id: string; reason: RejectionReason }) => void reasons.set(id, reason);
  for await (const chunk of readAcceptedLogs(files, { onRejected, ...reportLogs(say) })) {
    for (const [saleId, logged] of Map.groupBy(chunk, (one) => one.saleId)) {
      const isKnown = found.has(saleId) || (!unknown.has(saleId) && (await stores.sales.find(saleId)) !== null);
      const counted = isKnown ? known : (unknown.get(saleId) ?? countDistinct());
      if (!isKnown) unknown.set(saleId, counted);
      for (const { order } of logged) counted.add(order.id);
      if (!isKnown) continue;
      const accepted = logged.map(({ order }) => order);
      const batch = await findLostOrders(stores, saleId, accepted);
      const ofSale = found.get(saleId) ?? { batch, orders: new Map() };
      found.set(saleId, ofSale);
      for (const order of batch.orders) if (!ofSale.orders.has(order.id)) ofSale.orders.set(order.id, order);
    }
  }
  const inLog = known.count();
  if (inLog === 0 && unknown.size === 0) {
    throw new Error(
      `No accepted order is in ${[...new Set(files.flatMap((one) => findLogs(one).files))].join(', ')}: no line "${ACCEPTED}". Are these the logs of the API, of all its processes, with those that were set aside?`,
    );
  }
  // Only now: a worker's line may be in a later file than the order's own.
  const all = [...found.values()].map(({ batch, orders }) => ({ ...batch, orders: [...orders.values()] }));
  const rejected = all.flatMap(({ saleId, orders }) =>
    orders.flatMap((order) => {
      const reason = reasons.get(order.id);
      return reason === undefined ? [] : [{ saleId, order, reason }];
    }),
  );
  const lost = all
    .map((batch) => ({ ...batch, orders: batch.orders.filter(({ id }) => !reasons.has(id)) }))
    .filter(({ orders }) => orders.length > 0);
  return { inLog, lost, rejected, unknown: new Map([...unknown].map(([id, orders]) => [id, orders.count()])) };
}

/** @returns whether all have ended; gives up when none has ended for ENDED_WITHIN_MS, as there may be hundreds of thousands */
async function waitForEnds(
  orders: Pick<OrderStore, 'outcomesOf'>,
  lost: readonly OrderBatch[],
  say: Recovery['say'],
): Promise<boolean> {
  let waiting = lost.flatMap((batch) => batch.orders.map((order) => order.id));
  const outcomes: OrderOutcome[] = [];
  for (let deadline = Date.now() + ENDED_WITHIN_MS; waiting.length > 0 && Date.now() < deadline; ) {
    await new Promise((resolve) => setTimeout(resolve, 200));
    const before = outcomes.length;
    // Workers take them in order, so the ended ones are at the front.
    for (let at = 0; at < waiting.length; at += LOST_LOOK_CHUNK) {
      const ended = await orders.outcomesOf(waiting.slice(at, at + LOST_LOOK_CHUNK));
      outcomes.push(...ended);
      if (ended.length === 0) break;
    }
    if (outcomes.length === before) continue;
    const ended = new Set(outcomes.slice(before).map(({ id }) => id));
    waiting = waiting.filter((id) => !ended.has(id));
    deadline = Date.now() + ENDED_WITHIN_MS;
  }
  const byEnd = Map.groupBy(outcomes, (one) => (one.status === 'confirmed' ? 'confirmed' : `rejected (${one.reason})`));
  for (const [end, ended] of byEnd) say(`${ended.length} ${end}`);
  if (waiting.length === 0) return true;
  say(`${waiting.length} have not ended: is a worker running? Type the command again later; it is safe to repeat.`);
  return false;
}

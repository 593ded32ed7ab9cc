/**
 * npm run recover:orders -- <log of the API, folder of logs, pattern, or backup …> [--dry-run]
 *
 * After Redis lost its disk, or the ledger was restored from a backup: finds in the API's logs the orders that were accepted and are neither in
 * the ledger nor reserved, and redelivers them with the ids that their buyers have. Each ends as confirmed, or as rejected where no unit
 * is left for it. An order that a worker's log calls rejected is written down as that again, and not enqueued. Safe to repeat. With a log,
 * those that were set aside from it are read, too; of a folder, and those in it, all logs of API processes and workers (*api*.log*,
 * *worker*.log*); of a backup the orders that it found missing; "-" reads standard input. gzip and zstd are unpacked. It says what it read. The
 * exit code is 0 when every order found has ended, 1 when some have not, or are of a sale that the ledger does not know, or when a file of a
 * folder was not read, 2 when nothing could be looked for.
 */
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
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
import { findServers, findSettings } from '@flash-sale/launcher/running-system.ts';
import { findLogs, readAcceptedLogs } from '@flash-sale/ops/recover/accepted-log-files.ts';
import { countDistinct } from '@flash-sale/ops/recover/distinct-ids.ts';
import { findLostOrders } from '@flash-sale/ops/recover/find-lost-orders.ts';
import { readArguments, usageOf } from './read-arguments.ts';
import { tellOfLogs, tellOfSkipped } from './tell-of-logs.ts';

/** Milliseconds within which the workers bring one more of the orders to its end: I3, twice. */
const ENDED_WITHIN_MS = 60_000;

const root = dirname(dirname(fileURLToPath(import.meta.url)));

try {
  const { values, positionals } = readArguments(import.meta.url, {
    options: { 'dry-run': { type: 'boolean', default: false } },
    allowPositionals: true,
  });
  if (positionals.length === 0) throw new Error(usageOf(import.meta.url));
  process.exitCode = await recover(positionals, values['dry-run']);
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = 2;
}

async function recover(files: readonly string[], dryRun: boolean): Promise<number> {
  const { redisUrl, databaseUrl } = findServers(root, process.env);
  const settings = findSettings(root, process.env).settings.environment;
  const log = createLogger('recover-orders', 'warn');
  const timeoutMs = settings.REQUEST_TIMEOUT_MS;
  const keys = createKeys(settings.KEY_PREFIX);
  const { redis, connect, close } = connectForRequests({ url: redisUrl, name: 'recover-orders', log, timeoutMs });
  const pool = connectPostgres({ url: databaseUrl, size: 2, timeoutMs, name: 'flash-sale-recover', log });
  try {
    await connect();
    const orders = createOrderStore(pool);
    const inventory = createInventory({ redis, keys });
    const isAllRead = tellOfSkipped(files);
    const { inLog, lost, unknown, rejected } = await lookForLost(files, {
      inventory,
      orders,
      sales: createSaleStore(pool),
    });
    const missing = lost.reduce((sum, batch) => sum + batch.orders.length, rejected.length);
    say(`${inLog} accepted ${inLog === 1 ? 'order' : 'orders'} in the log, ${missing} of them lost.`);
    for (const [saleId, orders] of unknown) {
      say(
        `${orders} more of a sale that the ledger does not know: ${saleId}. Is it the right database, or was it restored from before the sale? They are left alone.`,
      );
    }
    if (rejected.length > 0) say(`${rejected.length} of these were rejected, by a worker's log, and stay so.`);
    const exitCode = unknown.size === 0 && isAllRead ? 0 : 1;
    for (const batch of lost)
      for (const order of batch.orders) say(`  ${order.id}  ${order.buyerId}  ${order.quantity}`);
    if (dryRun) return exitCode;
    for (const { saleId, order, reason } of rejected) await orders.reject(saleId, [order], reason);
    if (lost.length === 0) return exitCode;
    const queue = createOrderQueue({ redis, prefix: keys.queuePrefix });
    await queue.add(lost);
    await queue.close();
    return (await waitForEnds(orders, lost)) ? exitCode : 1;
  } finally {
    await Promise.all([close(), pool.end()]);
  }
}

interface RejectedOrder {
  readonly saleId: string;
  readonly order: AcceptedOrder;
  readonly reason: RejectionReason;
}

/**
 * A chunk of the logs after the other: only what is lost is in memory as a whole.
 *
 * @returns accepted orders of sales that the ledger knows; the lost ones of them, and apart from them those that their buyers could read as
 * rejected (I7); and how many there are of each sale that it does not know: no worker can bring those to an end. Each order counts once.
 * @throws Error with a sentence where there is none at all
 */
async function lookForLost(
  files: readonly string[],
  parts: { inventory: Inventory; orders: OrderStore; sales: SaleStore },
): Promise<{ inLog: number; lost: OrderBatch[]; unknown: Map<string, number>; rejected: RejectedOrder[] }> {
  const unknown = new Map<string, ReturnType<typeof countDistinct>>();
  const known = countDistinct();
  const reasons = new Map<string, RejectionReason>();
  const found = new Map<string, OrderBatch & { orders: AcceptedOrder[] }>();
  const seen = new Set<string>();
  for await (const chunk of readAcceptedLogs(files, {
    onRejected: ({ id, reason }) => reasons.set(id, reason),
    ...tellOfLogs,
  })) {
    for (const [saleId, logged] of Map.groupBy(chunk, (one) => one.saleId)) {
      const isKnown = found.has(saleId) || (!unknown.has(saleId) && (await parts.sales.find(saleId)) !== null);
      if (!isKnown) {
        const ofSale = unknown.get(saleId) ?? countDistinct();
        unknown.set(saleId, ofSale);
        for (const { order } of logged) ofSale.add(order.id);
        continue;
      }
      for (const { order } of logged) known.add(order.id);
      const batch = await findLostOrders(
        parts,
        saleId,
        logged.map(({ order }) => order),
      );
      const ofSale = found.get(saleId) ?? { ...batch, orders: [] };
      found.set(saleId, ofSale);
      for (const order of batch.orders) {
        if (seen.has(order.id)) continue;
        seen.add(order.id);
        ofSale.orders.push(order);
      }
    }
  }
  const inLog = known.count();
  if (inLog === 0 && unknown.size === 0) {
    throw new Error(
      `No accepted order is in ${[...new Set(files.flatMap((one) => findLogs(one).files))].join(', ')}: no line "${ACCEPTED}". Are these the logs of the API, of all its processes, with those that were set aside?`,
    );
  }
  // A worker's line may stand in a later file than the order's own.
  const rejected = [...found.values()].flatMap(({ saleId, orders }) =>
    orders.flatMap((order) => {
      const reason = reasons.get(order.id);
      return reason === undefined ? [] : [{ saleId, order, reason }];
    }),
  );
  const lost = [...found.values()]
    .map((batch) => ({ ...batch, orders: batch.orders.filter(({ id }) => !reasons.has(id)) }))
    .filter(({ orders }) => orders.length > 0);
  return { inLog, lost, rejected, unknown: new Map([...unknown].map(([id, orders]) => [id, orders.count()])) };
}

/** @returns whether all have ended */
async function waitForEnds(orders: Pick<OrderStore, 'outcomesOf'>, lost: readonly OrderBatch[]): Promise<boolean> {
  let waiting = lost.flatMap((batch) => batch.orders.map((order) => order.id));
  const outcomes: OrderOutcome[] = [];
  // As long as some come to their end, the others are only in the queue: there may be hundreds of thousands.
  for (let deadline = Date.now() + ENDED_WITHIN_MS; waiting.length > 0 && Date.now() < deadline; ) {
    await new Promise((resolve) => setTimeout(resolve, 200));
    const before = outcomes.length;
    // Workers take them in their order: whoever has ended is among the first.
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
  const tally = new Map<string, number>();
  for (const outcome of outcomes) {
    const word = outcome.status === 'confirmed' ? 'confirmed' : `rejected (${outcome.reason})`;
    tally.set(word, (tally.get(word) ?? 0) + 1);
  }
  for (const [word, orders] of tally) say(`${orders} ${word}`);
  if (waiting.length === 0) return true;
  say(`${waiting.length} have not ended: is a worker running? Type the command again later; it is safe to repeat.`);
  return false;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/**
 * pnpm recover:orders <log of the API …> [--dry-run]
 *
 * After Redis lost its disk: finds in the API's logs the orders that were accepted and are neither in the ledger nor reserved, and hands
 * them over again with the ids that their buyers have. Each ends as confirmed, or as rejected where no unit is left for it.
 * Safe to repeat. "-" reads the log from standard input. The exit code is 0 when every order found has ended.
 */
import { createReadStream } from 'node:fs';
import { dirname } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { readEnvironment } from '@flash-sale/core/environment.ts';
import { createLogger } from '@flash-sale/core/logging.ts';
import { readAccepted } from '@flash-sale/core/orders/accepted-log.ts';
import { findLostOrders } from '@flash-sale/core/orders/find-lost-orders.ts';
import type { AcceptedOrder, OrderBatch, OrderVerdict } from '@flash-sale/core/orders/order.ts';
import { createOrderStore, type OrderStore } from '@flash-sale/core/orders/order-store.ts';
import { connectPostgres } from '@flash-sale/core/postgres/connect-postgres.ts';
import { createOrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import { connectForRequests } from '@flash-sale/core/redis/connect-redis.ts';
import { createKeys } from '@flash-sale/core/redis/keys.ts';
import { createStockGate } from '@flash-sale/core/stock/stock-gate.ts';
import { findServers } from '@flash-sale/launcher/running-system.ts';
import { readSettings } from '@flash-sale/launcher/settings.ts';

/** Milliseconds that the workers have to bring the orders to their end: I3, twice. */
const ENDED_WITHIN_MS = 60_000;
const USAGE = 'Usage: pnpm recover:orders <log file of the API, or - for standard input> … [--dry-run]';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

try {
  const { values, positionals } = parseArgs({
    options: { 'dry-run': { type: 'boolean', default: false } },
    allowPositionals: true,
  });
  if (positionals.length === 0) throw new Error(USAGE);
  process.exitCode = await recover(positionals, values['dry-run']);
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = 2;
}

async function recover(files: readonly string[], dryRun: boolean): Promise<number> {
  const { redisUrl, databaseUrl } = findServers(root, process.env);
  const settings = readEnvironment(readSettings(root, process.env).variables);
  const accepted = await readLogs(files);
  const log = createLogger('recover-orders', 'warn');
  const timeoutMs = settings.REQUEST_TIMEOUT_MS;
  const keys = createKeys(settings.KEY_PREFIX);
  const { redis, close } = connectForRequests({ url: redisUrl, name: 'recover-orders', log, timeoutMs });
  const pool = connectPostgres({ url: databaseUrl, size: 2, timeoutMs, name: 'flash-sale-recover', log });
  try {
    await redis.connect();
    const orders = createOrderStore(pool);
    const lost = await findLostOrders({ gate: createStockGate({ redis, keys }), orders }, accepted);
    const inLog = [...accepted.values()].reduce((sum, orders) => sum + orders.length, 0);
    const missing = lost.reduce((sum, batch) => sum + batch.orders.length, 0);
    say(`${inLog} accepted ${inLog === 1 ? 'order' : 'orders'} in the log, ${missing} of them lost.`);
    for (const batch of lost)
      for (const order of batch.orders) say(`  ${order.id}  ${order.buyerId}  ${order.quantity}`);
    if (lost.length === 0 || dryRun) return 0;
    const queue = createOrderQueue({ redis, prefix: keys.queuePrefix });
    await queue.add(lost);
    await queue.close();
    return await waitForEnds(orders, lost);
  } finally {
    await Promise.all([close(), pool.end()]);
  }
}

async function readLogs(files: readonly string[]): Promise<Map<string, AcceptedOrder[]>> {
  const found = new Map<string, Map<string, AcceptedOrder>>();
  for (const file of files) {
    const input = file === '-' ? process.stdin : createReadStream(file);
    for await (const line of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
      const accepted = readAccepted(line);
      if (!accepted) continue;
      const ofSale = found.get(accepted.saleId) ?? new Map<string, AcceptedOrder>();
      found.set(accepted.saleId, ofSale.set(accepted.order.id, accepted.order));
    }
  }
  return new Map([...found].map(([saleId, orders]) => [saleId, [...orders.values()]]));
}

async function waitForEnds(orders: Pick<OrderStore, 'verdictsOf'>, lost: readonly OrderBatch[]): Promise<number> {
  const ids = lost.flatMap((batch) => batch.orders.map((order) => order.id));
  const deadline = Date.now() + ENDED_WITHIN_MS;
  let verdicts: OrderVerdict[] = [];
  while (verdicts.length < ids.length && Date.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 200));
    verdicts = await orders.verdictsOf(ids);
  }
  const tally = new Map<string, number>();
  for (const verdict of verdicts) {
    const word = verdict.status === 'confirmed' ? 'confirmed' : `rejected (${verdict.reason})`;
    tally.set(word, (tally.get(word) ?? 0) + 1);
  }
  for (const [word, orders] of tally) say(`${orders} ${word}`);
  if (verdicts.length === ids.length) return 0;
  say(
    `${ids.length - verdicts.length} have not ended: is a worker running? Type the command again later; it is safe to repeat.`,
  );
  return 1;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** npm run recover:orders: orders that Redis lost are found in the API's log and end. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readEnvironment } from '@flash-sale/core/config/environment.ts';
import { newOrderId } from '@flash-sale/core/domain/order.ts';
import { createInventory } from '@flash-sale/core/inventory/inventory.ts';
import { createOrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import { readAccepted } from '@flash-sale/core/runtime/accepted-log.ts';
import { openRotatedFile } from '@flash-sale/core/runtime/rotated-file.ts';
import { recoverOrders } from '@flash-sale/ops/recover/recover-orders.ts';
import { expect, test } from 'vitest';
import { openClient } from '../support/buyers.ts';
import { addressesOf, runScript, type Said } from '../support/command.ts';
import { useApi, useFolder, useWorld } from '../support/fixtures.ts';
import { startProcess, startWorkerHere } from '../support/running-system.ts';
import { makeSale, untilSold } from '../support/sales.ts';
import { eventually } from '../support/world.ts';

const world = useWorld();
const api = useApi(world);
const { path: folder } = useFolder();

/** The command, in this process. */
async function recover(...args: string[]): Promise<Said> {
  const { redisUrl, databaseUrl, prefix } = world;
  const settings = readEnvironment({ KEY_PREFIX: prefix });
  const files = args.filter((arg) => arg !== '--dry-run');
  let stdout = '';
  const say = (line: string): void => {
    stdout += `${line}\n`;
  };
  try {
    const done = await recoverOrders({
      redisUrl,
      databaseUrl,
      settings,
      files,
      dryRun: files.length < args.length,
      say,
    });
    return { code: done ? 0 : 1, stdout, stderr: '' };
  } catch (error) {
    return { code: 2, stdout, stderr: (error as Error).message };
  }
}

const command = (...args: string[]): Promise<Said> =>
  runScript('recover-orders', args, { ...addressesOf(world), DATA_DIR: folder });

test('[I3] [trap 17] lost orders are confirmed while units last; the command is idempotent; a later key of a buyer stands', async () => {
  const sale = await makeSale(world, { units: 10, perBuyerLimit: 2 });
  const order = async (buyer: string, key = ''): Promise<string> =>
    (await api.order(sale.id, { buyer, key })).body.order_id;
  const ids: string[] = [];
  for (const [buyer, key] of [['ann'], ['bob'], ['cid', 'k1'], ['dan'], ['dan']] as const)
    ids.push(await order(buyer, key));
  const queue = createOrderQueue({
    redis: world.redis.duplicate({ maxRetriesPerRequest: null }),
    prefix: world.keys.queuePrefix,
  });
  await eventually('all are enqueued', 5_000, async () => {
    const enqueued = await queue.orderIdsInProgress();
    return ids.every((id) => enqueued?.has(id));
  });
  // As after FLUSHALL: no keys and no jobs are left.
  await queue.bullQueue.obliterate({ force: true });
  await queue.close();
  const keys = world.keys.sale(sale.id);
  await world.redis.del(keys.inventory, keys.reservations, keys.buyers, keys.orderKeys);
  const worker = await startWorkerHere(world);
  const inventory = createInventory(world);
  await eventually('the inventory is open again', 5_000, async () => (await inventory.read(sale.id)).numbers !== null);
  const repeated = await order('cid', 'k1');
  const again = await order('dan');

  const log = join(folder, 'api.log');
  const lines = world.lines.map((line) => JSON.stringify(line));
  writeFileSync(log, [`no json "order accepted"`, ...lines, '{"msg":"order accepted","order_id":"cut o'].join('\n'));
  const dry = await recover('--dry-run', log);
  expect([dry.code, dry.stdout]).toEqual([0, expect.stringContaining('7 accepted orders in the log, 5 of them lost')]);
  for (const id of ids) expect(dry.stdout).toContain(id);
  expect((await inventory.read(sale.id)).numbers?.sold).toBeLessThanOrEqual(2);

  const first = await recover(log);
  expect(first, first.stderr).toMatchObject({ code: 0 });
  const { rows } = await world.pool.query('SELECT id, coalesce(reason, status) AS word FROM orders');
  const words = new Map(rows.map((row) => [row.id, row.word]));
  expect(ids.map((id) => words.get(id))).toEqual([
    'confirmed',
    'confirmed',
    'DUPLICATE_REQUEST',
    expect.stringMatching(/^(confirmed|OVER_CAP_AFTER_LOSS)$/),
    expect.stringMatching(/^(confirmed|OVER_CAP_AFTER_LOSS)$/),
  ]);
  expect([words.get(repeated), words.get(again)]).toEqual(['confirmed', 'confirmed']);
  // The cap of two is kept: of the two lost orders one finds room beside the later one.
  expect([ids[3], ids[4]].filter((id) => words.get(id as string) === 'confirmed')).toHaveLength(1);
  await untilSold(world, sale.id, 5, 5_000);
  expect((await inventory.read(sale.id)).numbers).toEqual({ allotment: 10, available: 5, reserved: 0, sold: 5 });

  const second = await recover(log);
  expect([second.code, second.stdout]).toEqual([0, expect.stringContaining(', 0 of them lost')]);
  await worker.stop();
}, 40_000);

test('exit code 0 if every order found has ended, 2 and a message if there is nothing to read', async () => {
  const sale = await makeSale(world);
  const [good, empty] = ['good.log', 'empty.log'].map((name) => join(folder, name)) as [string, string];
  writeFileSync(good, line(newOrderId(sale.id), 'ann'));
  writeFileSync(empty, '{"level":"info","msg":"ready"}\n');
  const [found, usage, option, missing] = await Promise.all([
    command('--dry-run', good),
    command(),
    command('--what'),
    command(join(folder, 'none.log')),
  ]);
  expect(found).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('1 accepted order in the log, 1 of them lost.'),
  });
  expect(usage).toMatchObject({ code: 2, stderr: expect.stringContaining('Usage: npm run recover:orders') });
  expect(option).toMatchObject({ code: 2 });
  expect(missing).toMatchObject({ code: 2, stderr: expect.stringContaining('none.log') });
  expect(await recover(empty)).toMatchObject({
    code: 2,
    stdout: expect.stringMatching(/^ {2}read .*empty\.log: 0 accepted orders\n$/),
    stderr: expect.stringMatching(/^No accepted order is in .*empty\.log: no line "order accepted"/),
  });
});

/** A line of the API's log. */
const line = (id: string, buyerId: string): string =>
  `${JSON.stringify({ msg: 'order accepted', order_id: id, buyer_id: buyerId, quantity: 1, reserved_at: Date.now(), reqId: 'r' })}\n`;

test('orders of a sale that the ledger does not have are listed separately, and the others end', async () => {
  const sale = await makeSale(world, { units: 10 });
  const [known, unknown] = [newOrderId(sale.id), newOrderId('elsewhere')];
  const log = join(folder, 'two-sales.log');
  writeFileSync(log, line(known, 'ann') + line(unknown, 'bob'));
  const worker = await startWorkerHere(world);
  const said = await recover(log);
  expect(said.code).toBe(1);
  expect(said.stdout).toContain('1 accepted order in the log, 1 of them lost.');
  expect(said.stdout).toContain('1 more in a sale that is not in the ledger: elsewhere.');
  expect(said.stdout).toContain('1 confirmed');
  expect(said.stdout).not.toContain(unknown);
  await worker.stop();
}, 30_000);

test('[I7] an order that a worker logged as rejected stays rejected; an order in two files counts once', async () => {
  const sale = await makeSale(world, { units: 10 });
  const [told, other] = [newOrderId(sale.id), newOrderId(sale.id)];
  const logs = join(folder, 'with-worker');
  mkdirSync(logs);
  writeFileSync(join(logs, 'api-1.log'), line(told, 'ann') + line(other, 'bob'));
  writeFileSync(join(logs, 'api-2.log'), line(other, 'bob'));
  const rejection = {
    level: 'warn',
    order_id: told,
    sale_id: sale.id,
    reason: 'OVER_CAP_AFTER_LOSS',
    msg: 'order rejected',
  };
  writeFileSync(join(logs, 'worker-1.log'), `${JSON.stringify(rejection)}\n`);
  const worker = await startWorkerHere(world);
  const said = await recover(logs);
  await worker.stop();
  expect(said).toMatchObject({ code: 0, stderr: '' });
  expect(said.stdout).toContain('2 accepted orders in the log, 2 of them lost.');
  expect(said.stdout).toContain("Rejected according to a worker's log, and recovered as rejected: 1.");
  const { rows } = await world.pool.query(
    'SELECT id, coalesce(reason, status) AS word FROM orders WHERE sale_id = $1',
    [sale.id],
  );
  expect(new Map(rows.map(({ id, word }) => [id, word]))).toEqual(
    new Map([
      [told, 'OVER_CAP_AFTER_LOSS'],
      [other, 'confirmed'],
    ]),
  );
  expect((await recover('--dry-run', logs)).stdout).toContain('2 accepted orders in the log, 0 of them lost.');
  // A file that is not read is an error.
  writeFileSync(join(logs, 'orders.txt'), line(newOrderId(sale.id), 'cid'));
  const partly = await recover('--dry-run', logs);
  expect(partly.code).toBe(1);
  expect(partly.stdout).toContain(`NOT READ ${join(logs, 'orders.txt')}: its name is`);
  expect(partly.stdout).toMatch(/read \S+api-1\.log: 2 accepted orders, from \S+Z to \S+Z\n/);
}, 30_000);

test('rotated logs are read: with the log, from its folder, and by a pattern', async () => {
  const sale = await makeSale(world, { units: 10 });
  const logs = join(folder, 'logs');
  const log = join(logs, 'api-1.log');
  const file = openRotatedFile(log, { bytes: 100, files: 10 });
  const ids = ['ann', 'bob', 'cid'].map((buyer) => {
    const id = newOrderId(sale.id);
    file.write(line(id, buyer));
    return id;
  });
  writeFileSync(join(logs, 'worker-1.log'), line(newOrderId(sale.id), 'of no API'));
  for (const given of [logs, join(logs, 'api-*.log*'), log]) {
    const { stdout, code } = await recover('--dry-run', given);
    expect([code, stdout]).toEqual([0, expect.stringContaining('3 accepted orders in the log, 3 of them lost')]);
    for (const id of ids) expect(stdout).toContain(id);
  }
}, 30_000);

test.each(['error', 'silent'])(
  'LOG_LEVEL=%s does not silence the accepted-order log in LOG_FILE',
  async (level) => {
    const sale = await makeSale(world, { units: 10 });
    const log = join(folder, `api-${level}.log`);
    const process = await startProcess(world, 'api', { LOG_LEVEL: level, LOG_FILE: log });
    const { orderId: id } = await openClient(process.url).order(sale.id);
    const logged = readFileSync(log, 'utf8');
    expect(logged.split('\n')).toHaveLength(2);
    expect(readAccepted(logged)?.order.id).toBe(id);
    await process.kill();
  },
  30_000,
);

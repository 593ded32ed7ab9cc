/** A Redis with the same run id but other data, as after a promotion. */
import { newOrderId } from '@flash-sale/core/domain/order.ts';
import type { PrivateServer } from '@flash-sale/launcher/private-server.ts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startOwnRedis, useFolder, useOwnRedis } from '../support/fixtures.ts';
import { makeSale, reserveOne } from '../support/sales.ts';
import { workerSteps } from '../support/worker-steps.ts';
import { eventually, type World } from '../support/world.ts';

const NO_DELAY = 'repl-diskless-sync-delay 0';
const world = useOwnRedis(NO_DELAY);
const folder = useFolder();
let second: PrivateServer;
let backup: World['redis'];

beforeAll(async () => {
  second = await startOwnRedis(folder.path, [NO_DELAY]);
  const { port, password } = new URL(second.url);
  backup = world.redis.duplicate({ port: Number(port), password });
  await world.redis.config('SET', 'masterauth', password);
  await backup.config('SET', 'masterauth', new URL(world.redisUrl).password);
});
afterAll(async () => {
  backup.disconnect();
  await second.stop();
});

async function follow(replica: World['redis'], { port }: { port: number }): Promise<void> {
  await replica.replicaof('127.0.0.1', port);
  await eventually('the replica is in step', 20_000, async () =>
    (await replica.info('replication')).includes('master_link_status:up'),
  );
}

test('[I2] [I11] a master with older data accepts nothing before the inventory is rebuilt, although its process is the same', async () => {
  const { redis, server: first } = world;
  const { inventory, ...steps } = workerSteps(world);
  await follow(backup, first);
  const sale = await makeSale(world, { units: 5 });
  const runId = async () => /run_id:(\w+)/.exec(await redis.info('server'))?.[1];
  const before = await runId();
  // The backup stops here.
  expect(await redis.wait(1, 5_000)).toBe(1);
  await backup.replicaof('NO', 'ONE');
  const { id } = await steps.order(sale.id, { quantity: 4 });
  await steps.confirm(await steps.batchOf(sale.id, id));
  expect((await inventory.read(sale.id)).numbers).toMatchObject({ available: 1, sold: 4 });

  await follow(redis, second);
  await redis.replicaof('NO', 'ONE');
  expect(await runId()).toBe(before);
  expect(await redis.hget(world.keys.sale(sale.id).inventory, 'available'), 'older data').toBe('5');
  await expect(reserveOne(inventory, sale.id, newOrderId(sale.id))).rejects.toThrow('recovering');
  expect(await inventory.check(sale.id, 1)).toEqual({ condition: 'other_server', epoch: 1 });
  await steps.watchOnce();
  expect((await inventory.read(sale.id)).numbers).toEqual({ allotment: 5, available: 1, reserved: 0, sold: 4 });
  await reserveOne(inventory, sale.id, newOrderId(sale.id));
  await expect(reserveOne(inventory, sale.id, newOrderId(sale.id))).rejects.toThrow('sold_out');
});

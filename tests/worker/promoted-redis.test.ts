/** A Redis that goes on as the same process, with other data: its run id says nothing of that. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { newOrderId } from '@flash-sale/core/domain/order.ts';
import { startPrivateRedis } from '@flash-sale/launcher/private-redis.ts';
import type { PrivateServer } from '@flash-sale/launcher/private-server.ts';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { makeSale, reserveOne } from '../support/sales.ts';
import { workerSteps } from '../support/worker-steps.ts';
import { eventually, openWorld, type World } from '../support/world.ts';

let folder: string;
let servers: PrivateServer[];
let world: World;
let backup: World['redis'];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'flash-sale-promoted-'));
  const distFolder = process.env.TEST_REDIS_DIST;
  const start = (name: string) =>
    startPrivateRedis({
      folder: join(folder, name),
      restart: false,
      config: ['repl-diskless-sync-delay 0'],
      ...(distFolder ? { distFolder } : {}),
    });
  servers = [await start('first'), await start('backup')];
  const [first, second] = servers as [PrivateServer, PrivateServer];
  world = await openWorld(inject('template'), first.url);
  const { port, password } = new URL(second.url);
  backup = world.redis.duplicate({ port: Number(port), password });
  await world.redis.config('SET', 'masterauth', password);
  await backup.config('SET', 'masterauth', new URL(first.url).password);
});
afterAll(async () => {
  backup.disconnect();
  await world.close();
  await Promise.all(servers.map((server) => server.stop()));
  rmSync(folder, { recursive: true, force: true });
});

async function follow(replica: World['redis'], { port }: { port: number }): Promise<void> {
  await replica.replicaof('127.0.0.1', port);
  await eventually('the replica is in step', 20_000, async () =>
    (await replica.info('replication')).includes('master_link_status:up'),
  );
}

test('[I2] [I11] the same process that took over older data and is master again admits nothing before the inventory is rebuilt', async () => {
  const { redis } = world;
  const [first, second] = servers as [PrivateServer, PrivateServer];
  const { inventory, ...steps } = workerSteps(world);
  await follow(backup, first);
  const sale = await makeSale(world, { units: 5 });
  const runId = async () => /run_id:(\w+)/.exec(await redis.info('server'))?.[1];
  const before = await runId();
  // As far as the backup comes.
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

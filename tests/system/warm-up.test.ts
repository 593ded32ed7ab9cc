/** The warm-up: API and worker run their code, and leave nothing, whenever they are killed. */
import { createKeys } from '@flash-sale/core/inventory/keys.ts';
import { expect, test } from 'vitest';
import { useWorld } from '../support/fixtures.ts';
import { freePort } from '../support/free-port.ts';
import { beginProcess, startProcess } from '../support/running-system.ts';
import { eventually } from '../support/world.ts';

const world = useWorld();

/** The tests run at the same time, each under its own prefix. */
const placeOf = (name: string) => ({ ...world, prefix: `${world.prefix}-${name}` });

/** Keys of scratch spaces. BullMQ's begin with a brace. */
async function scratchKeys(prefix: string): Promise<string[]> {
  const keys = await Promise.all(['', '{'].map((brace) => world.redis.keys(`${brace}${prefix}*:warm-up-*`)));
  return keys.flat();
}

async function rowsNow(): Promise<unknown> {
  const { rows } = await world.pool.query(
    `SELECT (SELECT count(*) FROM sales) AS sales, (SELECT count(*) FROM orders) AS orders,
            (SELECT count(*) FROM operator_actions) AS actions`,
  );
  return rows[0];
}

const NO_ROWS = { sales: '0', orders: '0', actions: '0' };

test.concurrent.each([
  ['header', {}],
  ['jwt', { AUTH: 'jwt', JWT_SECRET: 's'.repeat(32), JWT_ISSUER: 'https://shop.test', JWT_AUDIENCE: 'shop' }],
])(
  'with AUTH=%s no key, row, count or log line is left',
  async (name, settings) => {
    const place = placeOf(name);
    const metricsPort = await freePort();
    const metrics = () => fetch(`http://127.0.0.1:${metricsPort}/metrics`);
    const service = await beginProcess(place, 'api', {
      WARM_UP: 'on',
      METRICS_PORT: String(metricsPort),
      ...settings,
    });
    // Orders are decided and enqueued meanwhile, and no scraper sees their counts.
    await eventually('it takes orders', 20_000, async () => {
      const keys = await scratchKeys(place.prefix);
      return (
        keys.some((key) => key.endsWith('open:reservations')) && keys.some((key) => key.includes('confirm-orders'))
      );
    });
    expect((await metrics()).status).toBe(503);
    await service.ready;
    const counts = (await (await metrics()).text()).split('\n');
    expect(counts.filter((line) => /^flash_sale_\w+_(total|count|sum).* [1-9]/.test(line))).toEqual([]);
    expect(counts.filter((line) => line.startsWith('flash_sale_orders_total'))).toHaveLength(5);
    expect(await scratchKeys(place.prefix)).toEqual([]);
    expect(await world.redis.exists(createKeys(place.prefix).scratchSpaces)).toBe(0);
    expect(await rowsNow()).toEqual(NO_ROWS);
    expect(service.output()).not.toContain('warm-up');
  },
  30_000,
);

test.concurrent('the worker confirms orders, and no key, row, count or log line is left', async () => {
  const place = placeOf('worker');
  const port = await freePort();
  const service = await beginProcess(place, 'worker', { WARM_UP: 'on', METRICS_PORT: String(port) });
  await eventually('it confirms orders', 20_000, async () => {
    const keys = await scratchKeys(place.prefix);
    const inventory = keys.find((key) => key.endsWith('open:inventory'));
    return inventory !== undefined && Number(await world.redis.hget(inventory, 'sold')) > 0;
  });
  await service.ready;
  const counts = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  expect(counts.split('\n').filter((line) => /^flash_sale_\w+_(total|count|sum).* [1-9]/.test(line))).toEqual([]);
  expect(await scratchKeys(place.prefix)).toEqual([]);
  expect(await rowsNow()).toEqual(NO_ROWS);
  expect(service.output()).not.toContain('warm-up');
}, 30_000);

test.concurrent.each(['api', 'worker'] as const)(
  '%s: killed at any moment, it leaves nothing for long',
  async (name) => {
    const place = placeOf(`killed-${name}`);
    const { scratchSpaces } = createKeys(place.prefix);
    for (let moment = 0; moment < 10; moment++) {
      const before = await world.redis.zcard(scratchSpaces);
      const service = await beginProcess(place, name, { WARM_UP: 'on' });
      await eventually('it has begun', 20_000, async () => (await world.redis.zcard(scratchSpaces)) > before);
      await new Promise((resolve) => setTimeout(resolve, moment * (name === 'api' ? 200 : 40)));
      await service.kill();
    }
    expect((await scratchKeys(place.prefix)).length).toBeGreaterThan(10);
    const ids = await world.redis.zrange(scratchSpaces, '0', '-1');
    // They are abandoned in half a minute.
    await Promise.all(ids.map((id) => world.redis.zincrby(scratchSpaces, -1e9, id)));
    await startProcess(place, 'worker');
    await eventually('a worker deletes it', 20_000, async () => (await world.redis.exists(scratchSpaces)) === 0);
    expect(await scratchKeys(place.prefix)).toEqual([]);
    expect(await rowsNow()).toEqual(NO_ROWS);
  },
  60_000,
);

test.concurrent('a failure is a warning', async () => {
  const place = placeOf('failing');
  await world.redis.set(createKeys(place.prefix).scratchSpaces, 'not a sorted set');
  const service = await startProcess(place, 'api', { WARM_UP: 'on' });
  expect(service.output()).toContain('the warm-up failed');
  expect((await fetch(`${service.url}/health/live`)).status).toBe(200);
}, 30_000);

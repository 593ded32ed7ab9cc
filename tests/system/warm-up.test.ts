/** The warm-up of API and worker: it runs their code, and leaves nothing, whenever it is killed. */
import { createKeys } from '@flash-sale/core/inventory/keys.ts';
import { expect, test } from 'vitest';
import { useWorld } from '../support/fixtures.ts';
import { freePort } from '../support/free-port.ts';
import { beginProcess, startProcess } from '../support/running-system.ts';
import { eventually } from '../support/world.ts';

const world = useWorld();

/** The tests run at the same time, each under its own prefix. */
const placeOf = (name: string) => ({ ...world, prefix: `${world.prefix}-${name}` });

/** Keys of scratch spaces and of their registry. BullMQ's begin with a brace. */
async function scratchKeys(prefix: string): Promise<string[]> {
  const keys = await Promise.all(['', '{'].map((brace) => world.redis.keys(`${brace}${prefix}:*warm-up*`)));
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

test.concurrent.each(['api', 'worker'] as const)(
  '%s: no key, row, count or log line is left',
  async (name) => {
    const place = placeOf(name);
    const port = await freePort();
    const service = await startProcess(place, name, { WARM_UP: 'on', METRICS_PORT: String(port) });
    const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    expect(await rowsNow()).toEqual(NO_ROWS);
    expect(await scratchKeys(place.prefix)).toEqual([]);
    expect(metrics.split('\n').filter((line) => /^flash_sale_\w+_(total|count).* [1-9]/.test(line))).toEqual([]);
    expect(service.output()).not.toContain('warm-up-');
  },
  30_000,
);

test.concurrent.each(['api', 'worker'] as const)(
  '%s: killed at any moment, it leaves nothing',
  async (name) => {
    const place = placeOf(`killed-${name}`);
    const spaces = createKeys(place.prefix).warmUps;
    for (let moment = 0; moment < 5; moment++) {
      const before = await world.redis.zcard(spaces);
      const service = await beginProcess(place, name, { WARM_UP: 'on' });
      await eventually('it has begun', 20_000, async () => (await world.redis.zcard(spaces)) > before);
      await new Promise((resolve) => setTimeout(resolve, moment * 400));
      await service.kill();
    }
    // It did its work.
    const worked = name === 'api' ? ':reservations' : ':completed';
    expect(await scratchKeys(place.prefix)).toContainEqual(expect.stringContaining(worked));
    await startProcess(place, 'worker');
    await eventually('deleted', 20_000, async () => (await scratchKeys(place.prefix)).length === 0);
    expect(await rowsNow()).toEqual(NO_ROWS);
  },
  60_000,
);

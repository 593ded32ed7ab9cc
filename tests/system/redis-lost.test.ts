/** During a sale Redis restarts, is restored, fails over to a lagging replica, or is emptied. */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, inject, test } from 'vitest';
import { type Loss, startLosableRedis } from '../support/redis-loss.ts';
import { type SaleEnd, sellThrough } from '../support/sell-through.ts';

/** @returns the sale's end, after `npm run recover:orders`; checks what must hold after any loss */
async function sell(loss: Loss, units: number, appendfsync: 'always' | 'everysec'): Promise<SaleEnd> {
  const folder = mkdtempSync(join(tmpdir(), 'flash-sale-loss-'));
  chmodSync(folder, 0o711);
  const redis = await startLosableRedis(folder, appendfsync);
  try {
    const end = await sellThrough({
      template: inject('template'),
      redisUrl: redis.url,
      units,
      after: units / 3,
      processes: 1,
      happens: (underway) => redis.lose(loss, underway),
    });
    expect(end).toMatchObject({ forgotten: 0, faults: [] });
    expect(end.confirmed).toBeLessThanOrEqual(units);
    expect(end.epoch).toBeGreaterThan(1);
    // A check, a rebuild, and reconnects.
    expect(end.closedMs).toBeLessThan(15_000);
    return end;
  } finally {
    await redis.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

const outcomesOf = ({ outcomes }: SaleEnd, ids: Iterable<string> = outcomes.keys()): Set<string | undefined> =>
  new Set([...ids].map((id) => outcomes.get(id)));

test.concurrent('[I2] [I11] FLUSHALL: all units are sold once, and a lost order is recovered or rejected', async () => {
  const end = await sell('flushall', 1_200, 'everysec');
  expect(end.confirmed).toBe(1_200);
  for (const outcome of outcomesOf(end, end.accepted)) expect(['confirmed', 'NO_ROOM_AFTER_LOSS']).toContain(outcome);
}, 180_000);

test.concurrent('[I3] [I11] killed and restarted with `appendfsync always`: every accepted order is confirmed', async () => {
  const end = await sell('restart', 600, 'always');
  expect(outcomesOf(end, end.accepted)).toEqual(new Set(['confirmed']));
  expect(outcomesOf(end)).toEqual(new Set(['confirmed']));
}, 180_000);

test.concurrent.for(['restored', 'failover'] as const)(
  '[I2] [I11] %s, a second behind: nothing is sold twice, and every order ends',
  { timeout: 180_000 },
  async (loss) => {
    const end = await sell(loss, 600, 'everysec');
    for (const outcome of outcomesOf(end))
      expect(['confirmed', 'NO_ROOM_AFTER_LOSS', 'OVER_CAP_AFTER_LOSS']).toContain(outcome);
  },
);

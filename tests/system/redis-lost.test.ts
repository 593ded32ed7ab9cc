/** Redis restarts, is restored from an older file, fails over to a replica that lags, or is emptied, in the middle of a sale. */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, inject, test } from 'vitest';
import { type Loss, startLosableRedis } from '../support/redis-loss.ts';
import { type SaleEnd, sellThrough } from '../support/sell-through.ts';

/** What must hold after any loss, once `npm run recover:orders` has run. */
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
    // A check, a rebuild and some connections that are opened again.
    expect(end.closedMs).toBeLessThan(15_000);
    return end;
  } finally {
    await redis.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

const outcomesOf = ({ outcomes }: SaleEnd, ids: Iterable<string> = outcomes.keys()): Set<string | undefined> =>
  new Set([...ids].map((id) => outcomes.get(id)));

test('[I2] [I11] FLUSHALL: all units are sold, none twice, and an accepted order that was lost is recovered or rejected', async () => {
  const end = await sell('flushall', 3_000, 'everysec');
  expect(end.confirmed).toBe(3_000);
  for (const outcome of outcomesOf(end, end.accepted)) expect(['confirmed', 'NO_ROOM_AFTER_LOSS']).toContain(outcome);
}, 120_000);

test('[I3] [I11] killed and started again with `appendfsync always`: every accepted order is confirmed', async () => {
  const end = await sell('restart', 1_500, 'always');
  expect(outcomesOf(end, end.accepted)).toEqual(new Set(['confirmed']));
  expect(outcomesOf(end)).toEqual(new Set(['confirmed']));
}, 120_000);

test.each(['restored', 'failover'] as const)(
  '[I2] [I11] %s, a second behind: nothing is sold twice, and every order ends',
  async (loss) => {
    const end = await sell(loss, 1_500, 'everysec');
    for (const outcome of outcomesOf(end))
      expect(['confirmed', 'NO_ROOM_AFTER_LOSS', 'OVER_CAP_AFTER_LOSS']).toContain(outcome);
  },
  120_000,
);

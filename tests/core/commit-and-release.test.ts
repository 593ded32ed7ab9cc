/** How reservations end: concurrent calls, chunks and pages. Single calls are in tests/model. */

import { newOrderId } from '@flash-sale/core/domain/order.ts';
import {
  COMMIT_BATCH_MAX,
  createInventory,
  type Inventory,
  REAPER_SCAN_COUNT,
} from '@flash-sale/core/inventory/inventory.ts';
import type { OrphansFound, PassPosition } from '@flash-sale/core/inventory/outcomes.ts';
import { beforeAll, expect, test } from 'vitest';
import { times, useWorld } from '../support/fixtures.ts';
import { makeSale, reservationText, reserveOne } from '../support/sales.ts';

const world = useWorld();
let inventory: Inventory;
beforeAll(() => {
  inventory = createInventory(world);
});

async function reserved(quantities: number[], perBuyerLimit = 0): Promise<{ saleId: string; ids: string[] }> {
  const sale = await makeSale(world, { units: 100, perBuyerLimit });
  const ids = quantities.map(() => newOrderId(sale.id));
  for (const [i, quantity] of quantities.entries()) {
    await reserveOne(inventory, sale.id, ids[i] as string, { buyerId: `buyer|${i}`, quantity });
  }
  return { saleId: sale.id, ids };
}

const numbers = async (saleId: string) => (await inventory.read(saleId)).numbers;

test('[I1] an order in two chunks of a commit counts once', async () => {
  const sale = await makeSale(world, { units: COMMIT_BATCH_MAX * 2 });
  const ids = Array.from({ length: COMMIT_BATCH_MAX + 10 }, () => newOrderId(sale.id));
  for (const id of ids) await reserveOne(inventory, sale.id, id);
  const [first] = ids as [string];
  expect(await inventory.commit(sale.id, 1, [...ids, first])).toBe(ids.length);
  expect(await numbers(sale.id)).toMatchObject({ reserved: 0, sold: ids.length });
  expect(await inventory.commit(sale.id, 0, ids)).toBe(0);
});

test('[I5] 50 releases of one order at once return its units once', async () => {
  const { saleId, ids } = await reserved([4], 10);
  const returned = await times(50, () => inventory.release(saleId, 1, ids));
  expect(returned.reduce((sum, one) => sum + one, 0)).toBe(1);
  expect(await numbers(saleId)).toEqual({ allotment: 100, available: 100, reserved: 0, sold: 0 });
  expect(await world.redis.exists(world.keys.sale(saleId).buyers)).toBe(0);
});

test('[I1] [I7] of a commit and a release of one order at once exactly one counts', async () => {
  for (let i = 0; i < 20; i++) {
    const { saleId, ids } = await reserved([2]);
    const ended = await Promise.all([inventory.commit(saleId, 1, ids), inventory.release(saleId, 1, ids)]);
    const [sold, available] = ended[0] === 1 ? [2, 98] : [0, 100];
    expect(ended.toSorted()).toEqual([0, 1]);
    expect(await numbers(saleId)).toEqual({ allotment: 100, available, reserved: 0, sold });
  }
});

const AT_ONCE = { ageMs: -1, pauseMs: 0 };

test('an orphan is claimed by one of several workers, and again only after its age', async () => {
  const { saleId, ids } = await reserved([1, 1, 1]);
  for (const id of ids)
    await world.redis.hset(world.keys.sale(saleId).reservations, id, reservationText(Date.now() - 60_000));
  const claim = () => inventory.claimOrphans(saleId, { ageMs: 30_000, pauseMs: 0 }, null);
  const claims = await times(5, claim);
  expect(claims.flatMap(({ orphans }) => orphans.map(({ id }) => id)).sort()).toEqual([...ids].sort());
  expect((await claim()).orphans).toEqual([]);
});

test('a reservation that cannot be read is reported and does not block the others', async () => {
  const { saleId, ids } = await reserved([1, 1]);
  await world.redis.hset(world.keys.sale(saleId).reservations, ids[0] as string, 'rubbish');
  const { orphans, unreadable } = await inventory.claimOrphans(saleId, AT_ONCE, null);
  expect(unreadable).toEqual([ids[0]]);
  expect(orphans.map((orphan) => orphan.id)).toEqual([ids[1]]);
});

test('a pass continues from page to page, claims each once, and stores when the next one can find something', async () => {
  const sale = await makeSale(world, { units: 3 * REAPER_SCAN_COUNT });
  const reserveSome = async (count: number): Promise<string[]> => {
    const ids = Array.from({ length: count }, () => newOrderId(sale.id));
    for (let at = 0; at < count; at += 100)
      await Promise.all(ids.slice(at, at + 100).map((id) => reserveOne(inventory, sale.id, id, { buyerId: id })));
    return ids;
  };
  const [first] = (await reserveSome(1)) as [string];
  const reservedAt = Date.now() - 50;
  await world.redis.hset(world.keys.sale(sale.id).reservations, first, reservationText(reservedAt));
  const ids = [first, ...(await reserveSome(3 * REAPER_SCAN_COUNT - 1))];
  const passOver = async (settings: { ageMs: number; pauseMs: number }) => {
    const orphans: string[] = [];
    let pages = 0;
    let position: PassPosition | null = null;
    do {
      const found: OrphansFound = await inventory.claimOrphans(sale.id, settings, position);
      orphans.push(...found.orphans.map((orphan) => orphan.id));
      position = found.next;
      pages += 1;
    } while (position);
    return { orphans, pages };
  };
  const nextPass = async (): Promise<number> =>
    Number(await world.redis.hget(world.keys.sale(sale.id).inventory, 'next_pass'));
  const anHour = 3_600_000;
  // The first page stores a next pass within the longest pause: a later one would look like a
  // clock that was set back, and every worker would start a pass.
  expect((await inventory.claimOrphans(sale.id, { ageMs: anHour, pauseMs: 2 }, null)).next).not.toBeNull();
  const [s, us] = await world.redis.time();
  expect(await nextPass()).toBeLessThanOrEqual(Number(s) * 1_000 + Number(us) / 1_000 + 2);
  await world.redis.hdel(world.keys.sale(sale.id).inventory, 'next_pass');
  // The oldest reservation decides, on whichever page it is.
  const none = await passOver({ ageMs: anHour, pauseMs: 2 * anHour });
  expect(none.orphans).toEqual([]);
  expect(none.pages).toBeGreaterThan(1);
  expect(await nextPass()).toBe(reservedAt + anHour);
  // No worker starts one before that, unless it is further ahead than the longest pause.
  expect(await passOver({ ageMs: -1, pauseMs: 2 * anHour })).toEqual({ orphans: [], pages: 1 });
  const all = await passOver({ ageMs: -1, pauseMs: 1_000 });
  expect(all.orphans.sort()).toEqual([...ids].sort());
  // 600 orders: a pause of 60 ms.
  const [seconds, micros] = await world.redis.time();
  const pause = (3 * REAPER_SCAN_COUNT) / 10;
  expect(await nextPass()).toBeLessThanOrEqual(Number(seconds) * 1_000 + Number(micros) / 1_000 + pause);
  await world.redis.hdel(world.keys.sale(sale.id).inventory, 'next_pass');
  const begunAt = Date.now();
  expect((await passOver({ ageMs: -1, pauseMs: 1_000 })).orphans).toHaveLength(ids.length);
  expect(await nextPass()).toBeGreaterThanOrEqual(begunAt + pause - 1);
});

/**
 * How a reservation ends: calls at the same time, in chunks and in pages. Single calls are in
 * tests/model.
 */

import { newOrderId } from '@flash-sale/core/domain/order.ts';
import {
  COMMIT_BATCH_MAX,
  createInventory,
  type Inventory,
  REAPER_SCAN_COUNT,
} from '@flash-sale/core/inventory/inventory.ts';
import type { OrphansFound, PassPosition } from '@flash-sale/core/inventory/outcomes.ts';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { makeSale, reservationText, reserveOne } from '../support/sales.ts';
import { openWorld, type World } from '../support/world.ts';

let world: World;
let inventory: Inventory;

beforeAll(async () => {
  world = await openWorld(inject('template'));
  inventory = createInventory(world);
});
afterAll(() => world.close());

async function reserved(quantities: number[], perBuyerLimit = 0): Promise<{ saleId: string; ids: string[] }> {
  const sale = await makeSale(world, { units: 100, perBuyerLimit });
  const ids = quantities.map(() => newOrderId(sale.id));
  for (const [i, quantity] of quantities.entries()) {
    await reserveOne(inventory, sale.id, ids[i] as string, { buyerId: `buyer|${i}`, quantity });
  }
  return { saleId: sale.id, ids };
}

const numbers = async (saleId: string) => (await inventory.read(saleId)).numbers;

describe('commit', () => {
  test('[I1] moves units from reserved to sold, once, with repeated ids and repeated calls', async () => {
    const { saleId, ids } = await reserved([1, 2, 3]);
    const [a, b] = ids as [string, string, string];
    expect(await inventory.commit(saleId, 1, [a, b, a])).toBe(2);
    expect(await inventory.commit(saleId, 1, [a, b])).toBe(0);
    expect(await numbers(saleId)).toEqual({ allotment: 100, available: 94, reserved: 3, sold: 3 });
    expect(await inventory.findReservation(saleId, a)).toBeNull();
  });

  test('in chunks: an order in two chunks is committed once', async () => {
    const sale = await makeSale(world, { units: COMMIT_BATCH_MAX * 2 });
    const ids = Array.from({ length: COMMIT_BATCH_MAX + 10 }, () => newOrderId(sale.id));
    for (const id of ids) await reserveOne(inventory, sale.id, id);
    const [first] = ids as [string];
    expect(await inventory.commit(sale.id, 1, [...ids, first])).toBe(ids.length);
    expect(await numbers(sale.id)).toMatchObject({ reserved: 0, sold: ids.length });
    expect(await inventory.commit(sale.id, 0, ids)).toBe(0);
  });
});

describe('release', () => {
  test('[I5] 50 releases of one order at once give its units back once', async () => {
    const { saleId, ids } = await reserved([4], 10);
    const given = await Promise.all(Array.from({ length: 50 }, () => inventory.release(saleId, 1, ids)));
    expect(given.reduce((sum, one) => sum + one, 0)).toBe(1);
    expect(await numbers(saleId)).toEqual({ allotment: 100, available: 100, reserved: 0, sold: 0 });
    expect(await world.redis.exists(world.keys.sale(saleId).buyers)).toBe(0);
  });

  test('[I7] changes nothing after a commit, and a commit changes nothing after it', async () => {
    const { saleId, ids } = await reserved([1, 1]);
    const [committed, released] = ids as [string, string];
    await inventory.commit(saleId, 1, [committed]);
    await inventory.release(saleId, 1, [released]);
    expect(await inventory.release(saleId, 1, [committed])).toBe(0);
    expect(await inventory.commit(saleId, 1, [released])).toBe(0);
    expect(await numbers(saleId)).toEqual({ allotment: 100, available: 99, reserved: 0, sold: 1 });
  });

  test('commit and release of one order at once: exactly one of them counts', async () => {
    for (let i = 0; i < 20; i++) {
      const { saleId, ids } = await reserved([2]);
      const [committed, released] = await Promise.all([
        inventory.commit(saleId, 1, ids),
        inventory.release(saleId, 1, ids),
      ]);
      expect(committed + released).toBe(1);
      const now = await numbers(saleId);
      expect((now?.available ?? 0) + (now?.sold ?? 0)).toBe(100);
      expect(now?.reserved).toBe(0);
    }
  });
});

describe('orphans', () => {
  const AT_ONCE = { ageMs: -1, pauseMs: 0 };

  test('are claimed by one of several workers, and again only after their age', async () => {
    const { saleId, ids } = await reserved([1, 1, 1]);
    await new Promise((resolve) => setTimeout(resolve, 120));
    const claims = await Promise.all(
      Array.from({ length: 5 }, () => inventory.claimOrphans(saleId, { ageMs: 100, pauseMs: 0 }, null)),
    );
    const claimed = claims.flatMap((claim) => claim.orphans.map((orphan) => orphan.id));
    expect(claimed.sort()).toEqual([...ids].sort());
    expect((await inventory.claimOrphans(saleId, { ageMs: 100, pauseMs: 0 }, null)).orphans).toEqual([]);
  });

  test('come with their order and the number of redeliveries', async () => {
    const { saleId, ids } = await reserved([2]);
    await inventory.countRedeliveries(saleId, ids);
    await inventory.countRedeliveries(saleId, ids);
    const { orphans } = await inventory.claimOrphans(saleId, AT_ONCE, null);
    expect(orphans).toMatchObject([
      { id: ids[0], buyerId: 'buyer|0', quantity: 2, requestId: 'request', redeliveries: 2 },
    ]);
    await inventory.commit(saleId, 1, ids);
    await inventory.countRedeliveries(saleId, ids);
    expect(await world.redis.exists(world.keys.sale(saleId).redeliveries)).toBe(0);
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
});

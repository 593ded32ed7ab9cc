/** lua/commit.lua, lua/release.lua, lua/claim-orphans.lua, lua/count-redeliveries.lua: how a reservation ends. */

import { COMMIT_BATCH_MAX, REAPER_LOOK } from '@flash-sale/core/config/limits.ts';
import { newOrderId } from '@flash-sale/core/domain/order.ts';
import { createInventory, type Inventory } from '@flash-sale/core/inventory/inventory.ts';
import type { OrphansFound, PassPosition } from '@flash-sale/core/inventory/outcomes.ts';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { makeSale, reserveOne } from '../support/sales.ts';
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
  test('[I1] moves units from reserved to sold, once, however often and with whatever repeats it is called', async () => {
    const { saleId, ids } = await reserved([1, 2, 3]);
    const [a, b] = ids as [string, string, string];
    expect(await inventory.commit(saleId, 1, [a, b, a])).toBe(2);
    expect(await inventory.commit(saleId, 1, [a, b])).toBe(0);
    expect(await numbers(saleId)).toEqual({ allotment: 100, available: 94, reserved: 3, sold: 3 });
    expect(await inventory.findReservation(saleId, a)).toBeNull();
  });

  test('in parts: an order that stands on both sides of a cut is settled once', async () => {
    const sale = await makeSale(world, { units: COMMIT_BATCH_MAX * 2 });
    const ids = Array.from({ length: COMMIT_BATCH_MAX + 10 }, () => newOrderId(sale.id));
    for (const id of ids) await reserveOne(inventory, sale.id, id);
    const [first] = ids as [string];
    expect(await inventory.commit(sale.id, 1, [...ids, first])).toBe(ids.length);
    expect(await numbers(sale.id)).toMatchObject({ reserved: 0, sold: ids.length });
    expect(await inventory.commit(sale.id, 0, ids)).toBe(0);
  });

  test('of an order that nobody reserved changes nothing', async () => {
    const { saleId } = await reserved([1]);
    expect(await inventory.commit(saleId, 1, [newOrderId(saleId)])).toBe(0);
    expect(await numbers(saleId)).toEqual({ allotment: 100, available: 99, reserved: 1, sold: 0 });
  });

  test('takes a whole job at once', async () => {
    const sale = await makeSale(world, { units: 500 });
    const orders = Array.from({ length: 500 }, (_, i) => ({
      orderId: newOrderId(sale.id),
      buyerId: `b${i}`,
      quantity: 1,
      requestId: 'r',
      idempotencyKey: null,
    }));
    for (let i = 0; i < 500; i += 100) {
      await inventory.reserve(sale.id, orders.slice(i, i + 100), -1, { capacity: 0, refillRate: 1 });
    }
    expect(
      await inventory.commit(
        sale.id,
        1,
        orders.map((order) => order.orderId),
      ),
    ).toBe(500);
    expect(await numbers(sale.id)).toEqual({ allotment: 500, available: 0, reserved: 0, sold: 500 });
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

  test('[I7] after settling it changes nothing, and settling after it changes nothing', async () => {
    const { saleId, ids } = await reserved([1, 1]);
    const [settled, released] = ids as [string, string];
    await inventory.commit(saleId, 1, [settled]);
    await inventory.release(saleId, 1, [released]);
    expect(await inventory.release(saleId, 1, [settled])).toBe(0);
    expect(await inventory.commit(saleId, 1, [released])).toBe(0);
    expect(await numbers(saleId)).toEqual({ allotment: 100, available: 99, reserved: 0, sold: 1 });
  });

  test('commit and release of one order at once: exactly one of them counts', async () => {
    for (let i = 0; i < 20; i++) {
      const { saleId, ids } = await reserved([2]);
      const [settled, released] = await Promise.all([
        inventory.commit(saleId, 1, ids),
        inventory.release(saleId, 1, ids),
      ]);
      expect(settled + released).toBe(1);
      const now = await numbers(saleId);
      expect((now?.available ?? 0) + (now?.sold ?? 0)).toBe(100);
      expect(now?.reserved).toBe(0);
    }
  });
});

describe('orphans', () => {
  const AT_ONCE = { ageMs: -1, pauseMs: 0 };

  test('are claimed by one of many, and only again after as long', async () => {
    const { saleId, ids } = await reserved([1, 1, 1]);
    await new Promise((resolve) => setTimeout(resolve, 120));
    const claims = await Promise.all(
      Array.from({ length: 5 }, () => inventory.claimOrphans(saleId, { ageMs: 100, pauseMs: 0 }, null)),
    );
    const claimed = claims.flatMap((claim) => claim.orphans.map((orphan) => orphan.id));
    expect(claimed.sort()).toEqual([...ids].sort());
    expect((await inventory.claimOrphans(saleId, { ageMs: 100, pauseMs: 0 }, null)).orphans).toEqual([]);
  });

  test('carry what the order needs to be enqueued, and how often that was done', async () => {
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

  test('a reservation that cannot be read is named and keeps no other from being claimed', async () => {
    const { saleId, ids } = await reserved([1, 1]);
    await world.redis.hset(world.keys.sale(saleId).reservations, ids[0] as string, 'rubbish');
    const { orphans, unreadable } = await inventory.claimOrphans(saleId, AT_ONCE, null);
    expect(unreadable).toEqual([ids[0]]);
    expect(orphans.map((orphan) => orphan.id)).toEqual([ids[1]]);
  });

  test('a pass goes on from look to look, takes each once, and says when the next one can find something', async () => {
    const sale = await makeSale(world, { units: 3 * REAPER_LOOK });
    const reserveSome = async (count: number): Promise<string[]> => {
      const ids = Array.from({ length: count }, () => newOrderId(sale.id));
      for (let at = 0; at < count; at += 100)
        await Promise.all(ids.slice(at, at + 100).map((id) => reserveOne(inventory, sale.id, id, { buyerId: id })));
      return ids;
    };
    const [first] = (await reserveSome(1)) as [string];
    const reservedAt = Date.now() - 50;
    await world.redis.hset(world.keys.sale(sale.id).reservations, first, `1|${reservedAt}|r|0|ann`);
    const ids = [first, ...(await reserveSome(3 * REAPER_LOOK - 1))];
    const passOver = async (settings: { ageMs: number; pauseMs: number }) => {
      const orphans: string[] = [];
      let looks = 0;
      let look: PassPosition | null = null;
      do {
        const found: OrphansFound = await inventory.claimOrphans(sale.id, settings, look);
        orphans.push(...found.orphans.map((orphan) => orphan.id));
        look = found.next;
        looks += 1;
      } while (look);
      return { orphans, looks };
    };
    const nextPass = async (): Promise<number> =>
      Number(await world.redis.hget(world.keys.sale(sale.id).inventory, 'next_pass'));
    const anHour = 3_600_000;
    // As the first of several looks begins a pass, the next one is never further ahead than the longest pause: else it would be taken for one
    // of a clock that was set back, and every worker would begin.
    expect((await inventory.claimOrphans(sale.id, { ageMs: anHour, pauseMs: 2 }, null)).next).not.toBeNull();
    const [s, us] = await world.redis.time();
    expect(await nextPass()).toBeLessThanOrEqual(Number(s) * 1_000 + Number(us) / 1_000 + 2);
    await world.redis.hdel(world.keys.sale(sale.id).inventory, 'next_pass');
    // Whichever look it was in: the oldest one decides.
    const none = await passOver({ ageMs: anHour, pauseMs: 2 * anHour });
    expect(none.orphans).toEqual([]);
    expect(none.looks).toBeGreaterThan(1);
    expect(await nextPass()).toBe(reservedAt + anHour);
    // Not yet, for any worker; but where the longest pause is shorter than that, the clock was set back.
    expect(await passOver({ ageMs: -1, pauseMs: 2 * anHour })).toEqual({ orphans: [], looks: 1 });
    const all = await passOver({ ageMs: -1, pauseMs: 1_000 });
    expect(all.orphans.sort()).toEqual([...ids].sort());
    // Redis has 60 ms for others after 600 orders.
    const [seconds, micros] = await world.redis.time();
    const pause = (3 * REAPER_LOOK) / 10;
    expect(await nextPass()).toBeLessThanOrEqual(Number(seconds) * 1_000 + Number(micros) / 1_000 + pause);
    await world.redis.hdel(world.keys.sale(sale.id).inventory, 'next_pass');
    const begunAt = Date.now();
    expect((await passOver({ ageMs: -1, pauseMs: 1_000 })).orphans).toHaveLength(ids.length);
    expect(await nextPass()).toBeGreaterThanOrEqual(begunAt + pause - 1);
  });

  test('a clock that was set back hides none, whether it was reserved or claimed by the old one', async () => {
    const { saleId, ids } = await reserved([1, 1]);
    const keys = world.keys.sale(saleId);
    const inAnHour = Date.now() + 3_600_000;
    await world.redis.hset(keys.reservations, ids[0] as string, `1|${inAnHour}|r|0|ann`);
    await world.redis.hset(keys.claims, ids[1] as string, inAnHour);
    const { orphans } = await inventory.claimOrphans(saleId, { ageMs: 60_000, pauseMs: 0 }, null);
    expect(orphans.map((orphan) => orphan.id).sort()).toEqual([...ids].sort());
  });
});

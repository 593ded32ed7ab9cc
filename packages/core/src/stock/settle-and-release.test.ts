/** lua/settle.lua, lua/release.lua, lua/claim-strands.lua, lua/count-hand-overs.lua: how a reservation ends. */
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { SETTLE_BATCH_MAX, SWEEP_LOOK } from '../limits.ts';
import { newOrderId } from '../orders/order.ts';
import { makeSale, reserveOne } from '../testing/sales.ts';
import { openWorld, type World } from '../testing/world.ts';
import type { PassPosition, StrandsFound } from './gate-words.ts';
import { createStockGate, type StockGate } from './stock-gate.ts';

let world: World;
let gate: StockGate;

beforeAll(async () => {
  world = await openWorld(inject('template'));
  gate = createStockGate(world);
});
afterAll(() => world.close());

async function reserved(quantities: number[], perBuyerLimit = 0): Promise<{ saleId: string; ids: string[] }> {
  const sale = await makeSale(world, { units: 100, perBuyerLimit });
  const ids = quantities.map(() => newOrderId(sale.id));
  for (const [i, quantity] of quantities.entries()) {
    await reserveOne(gate, sale.id, ids[i] as string, { buyerId: `buyer|${i}`, quantity });
  }
  return { saleId: sale.id, ids };
}

const numbers = async (saleId: string) => (await gate.read(saleId)).numbers;

describe('settle', () => {
  test('[I1] moves units from reserved to sold, once, however often and with whatever repeats it is called', async () => {
    const { saleId, ids } = await reserved([1, 2, 3]);
    const [a, b] = ids as [string, string, string];
    expect(await gate.settle(saleId, 1, [a, b, a])).toBe(2);
    expect(await gate.settle(saleId, 1, [a, b])).toBe(0);
    expect(await numbers(saleId)).toEqual({ allotment: 100, available: 94, reserved: 3, sold: 3 });
    expect(await gate.findReservation(saleId, a)).toBeNull();
  });

  test('in parts: an order that stands on both sides of a cut is settled once', async () => {
    const sale = await makeSale(world, { units: SETTLE_BATCH_MAX * 2 });
    const ids = Array.from({ length: SETTLE_BATCH_MAX + 10 }, () => newOrderId(sale.id));
    for (const id of ids) await reserveOne(gate, sale.id, id);
    const [first] = ids as [string];
    expect(await gate.settle(sale.id, 1, [...ids, first])).toBe(ids.length);
    expect(await numbers(sale.id)).toMatchObject({ reserved: 0, sold: ids.length });
    expect(await gate.settle(sale.id, 0, ids)).toBe(0);
  });

  test('of an order that nobody reserved changes nothing', async () => {
    const { saleId } = await reserved([1]);
    expect(await gate.settle(saleId, 1, [newOrderId(saleId)])).toBe(0);
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
      await gate.reserve(sale.id, orders.slice(i, i + 100), -1, { capacity: 0, refillRate: 1 });
    }
    expect(
      await gate.settle(
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
    const given = await Promise.all(Array.from({ length: 50 }, () => gate.release(saleId, 1, ids)));
    expect(given.reduce((sum, one) => sum + one, 0)).toBe(1);
    expect(await numbers(saleId)).toEqual({ allotment: 100, available: 100, reserved: 0, sold: 0 });
    expect(await world.redis.exists(world.keys.sale(saleId).buyers)).toBe(0);
  });

  test('[I7] after settling it changes nothing, and settling after it changes nothing', async () => {
    const { saleId, ids } = await reserved([1, 1]);
    const [settled, released] = ids as [string, string];
    await gate.settle(saleId, 1, [settled]);
    await gate.release(saleId, 1, [released]);
    expect(await gate.release(saleId, 1, [settled])).toBe(0);
    expect(await gate.settle(saleId, 1, [released])).toBe(0);
    expect(await numbers(saleId)).toEqual({ allotment: 100, available: 99, reserved: 0, sold: 1 });
  });

  test('settle and release of one order at once: exactly one of them counts', async () => {
    for (let i = 0; i < 20; i++) {
      const { saleId, ids } = await reserved([2]);
      const [settled, released] = await Promise.all([gate.settle(saleId, 1, ids), gate.release(saleId, 1, ids)]);
      expect(settled + released).toBe(1);
      const now = await numbers(saleId);
      expect((now?.available ?? 0) + (now?.sold ?? 0)).toBe(100);
      expect(now?.reserved).toBe(0);
    }
  });
});

describe('strands', () => {
  const AT_ONCE = { ageMs: -1, pauseMs: 0 };

  test('are claimed by one of many, and only again after as long', async () => {
    const { saleId, ids } = await reserved([1, 1, 1]);
    await new Promise((resolve) => setTimeout(resolve, 120));
    const claims = await Promise.all(
      Array.from({ length: 5 }, () => gate.claimStrands(saleId, { ageMs: 100, pauseMs: 0 }, null)),
    );
    const claimed = claims.flatMap((claim) => claim.strands.map((strand) => strand.id));
    expect(claimed.sort()).toEqual([...ids].sort());
    expect((await gate.claimStrands(saleId, { ageMs: 100, pauseMs: 0 }, null)).strands).toEqual([]);
  });

  test('carry what the order needs to be handed over, and how often that was done', async () => {
    const { saleId, ids } = await reserved([2]);
    await gate.countHandOvers(saleId, ids);
    await gate.countHandOvers(saleId, ids);
    const { strands } = await gate.claimStrands(saleId, AT_ONCE, null);
    expect(strands).toMatchObject([
      { id: ids[0], buyerId: 'buyer|0', quantity: 2, requestId: 'request', handOvers: 2 },
    ]);
    await gate.settle(saleId, 1, ids);
    await gate.countHandOvers(saleId, ids);
    expect(await world.redis.exists(world.keys.sale(saleId).handOvers)).toBe(0);
  });

  test('a reservation that cannot be read is named and keeps no other from being claimed', async () => {
    const { saleId, ids } = await reserved([1, 1]);
    await world.redis.hset(world.keys.sale(saleId).reservations, ids[0] as string, 'rubbish');
    const { strands, unreadable } = await gate.claimStrands(saleId, AT_ONCE, null);
    expect(unreadable).toEqual([ids[0]]);
    expect(strands.map((strand) => strand.id)).toEqual([ids[1]]);
  });

  test('a pass goes on from look to look, takes each once, and says when the next one can find something', async () => {
    const sale = await makeSale(world, { units: 3 * SWEEP_LOOK });
    const reserveSome = async (count: number): Promise<string[]> => {
      const ids = Array.from({ length: count }, () => newOrderId(sale.id));
      for (let at = 0; at < count; at += 100)
        await Promise.all(ids.slice(at, at + 100).map((id) => reserveOne(gate, sale.id, id, { buyerId: id })));
      return ids;
    };
    const [first] = (await reserveSome(1)) as [string];
    const reservedAt = Date.now() - 50;
    await world.redis.hset(world.keys.sale(sale.id).reservations, first, `1|${reservedAt}|r|0|ann`);
    const ids = [first, ...(await reserveSome(3 * SWEEP_LOOK - 1))];
    const passOver = async (settings: { ageMs: number; pauseMs: number }) => {
      const strands: string[] = [];
      let looks = 0;
      let look: PassPosition | null = null;
      do {
        const found: StrandsFound = await gate.claimStrands(sale.id, settings, look);
        strands.push(...found.strands.map((strand) => strand.id));
        look = found.next;
        looks += 1;
      } while (look);
      return { strands, looks };
    };
    const nextPass = async (): Promise<number> =>
      Number(await world.redis.hget(world.keys.sale(sale.id).gate, 'next_pass'));
    const anHour = 3_600_000;
    // As the first of several looks begins a pass, the next one is never further ahead than the longest pause: else it would be taken for one
    // of a clock that was set back, and every worker would begin.
    expect((await gate.claimStrands(sale.id, { ageMs: anHour, pauseMs: 2 }, null)).next).not.toBeNull();
    const [s, us] = await world.redis.time();
    expect(await nextPass()).toBeLessThanOrEqual(Number(s) * 1_000 + Number(us) / 1_000 + 2);
    await world.redis.hdel(world.keys.sale(sale.id).gate, 'next_pass');
    // Whichever look it was in: the oldest one decides.
    const none = await passOver({ ageMs: anHour, pauseMs: 2 * anHour });
    expect(none.strands).toEqual([]);
    expect(none.looks).toBeGreaterThan(1);
    expect(await nextPass()).toBe(reservedAt + anHour);
    // Not yet, for any worker; but where the longest pause is shorter than that, the clock was set back.
    expect(await passOver({ ageMs: -1, pauseMs: 2 * anHour })).toEqual({ strands: [], looks: 1 });
    const all = await passOver({ ageMs: -1, pauseMs: 1_000 });
    expect(all.strands.sort()).toEqual([...ids].sort());
    // Redis has 60 ms for others after 600 orders.
    const [seconds, micros] = await world.redis.time();
    const pause = (3 * SWEEP_LOOK) / 10;
    expect(await nextPass()).toBeLessThanOrEqual(Number(seconds) * 1_000 + Number(micros) / 1_000 + pause);
    await world.redis.hdel(world.keys.sale(sale.id).gate, 'next_pass');
    const begunAt = Date.now();
    expect((await passOver({ ageMs: -1, pauseMs: 1_000 })).strands).toHaveLength(ids.length);
    expect(await nextPass()).toBeGreaterThanOrEqual(begunAt + pause - 1);
  });

  test('a clock that was set back hides none, whether it was reserved or claimed by the old one', async () => {
    const { saleId, ids } = await reserved([1, 1]);
    const keys = world.keys.sale(saleId);
    const inAnHour = Date.now() + 3_600_000;
    await world.redis.hset(keys.reservations, ids[0] as string, `1|${inAnHour}|r|0|ann`);
    await world.redis.hset(keys.claims, ids[1] as string, inAnHour);
    const { strands } = await gate.claimStrands(saleId, { ageMs: 60_000, pauseMs: 0 }, null);
    expect(strands.map((strand) => strand.id).sort()).toEqual([...ids].sort());
  });
});

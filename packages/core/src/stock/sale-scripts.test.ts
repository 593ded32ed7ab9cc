/** lua/open-sale.lua, lua/configure-sale.lua, lua/adjust-stock.lua, lua/read-sale.lua: what operators do to the gate. */
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { newOrderId } from '../orders/order.ts';
import { makeSale, reserveOne } from '../testing/sales.ts';
import { openWorld, type World } from '../testing/world.ts';
import { createStockGate, type StockGate } from './stock-gate.ts';

let world: World;
let gate: StockGate;

beforeAll(async () => {
  world = await openWorld(inject('template'));
  gate = createStockGate(world);
});
afterAll(() => world.close());

test('[trap 7] a gate that exists is never made anew', async () => {
  const sale = await makeSale(world, { units: 5 });
  await reserveOne(gate, sale.id, newOrderId(sale.id));
  expect(await gate.open(sale)).toBe(false);
  expect((await gate.read(sale.id)).numbers).toEqual({ allotment: 5, available: 4, reserved: 1, sold: 0 });
});

test('[I8] an older version of the settings never overwrites a newer one', async () => {
  const sale = await makeSale(world);
  await gate.configure({ ...sale, paused: true, version: 5 });
  await gate.configure({ ...sale, paused: false, version: 4 });
  expect(await world.redis.hget(world.keys.sale(sale.id).gate, 'paused')).toBe('1');
});

test('settings of a gate that is gone are not written', async () => {
  const sale = await makeSale(world);
  await world.redis.del(world.keys.sale(sale.id).gate);
  expect(await gate.configure({ ...sale, version: 9 })).toBe(false);
  expect(await gate.adjust(sale.id, 'c1', 5)).toEqual({ word: 'recovering' });
  expect((await gate.read(sale.id)).numbers).toBeNull();
});

test('a change of stock is decided once, whatever happens in between', async () => {
  const sale = await makeSale(world, { units: 5 });
  expect(await gate.adjust(sale.id, 'add', 3)).toEqual({ word: 'applied', available: 8, epoch: 1 });
  expect(await gate.adjust(sale.id, 'add', 3)).toEqual({ word: 'applied', available: 8, epoch: 1 });
  expect(await gate.adjust(sale.id, 'too much', -9)).toEqual({ word: 'refused', available: 8, epoch: 1 });
  await gate.adjust(sale.id, 'more', 100);
  expect(await gate.adjust(sale.id, 'too much', -9)).toMatchObject({ word: 'refused' });
  expect((await gate.read(sale.id)).numbers).toEqual({ allotment: 108, available: 108, reserved: 0, sold: 0 });
});

test('[I1] a withdrawal never takes a unit that was promised', async () => {
  const sale = await makeSale(world, { units: 3 });
  await reserveOne(gate, sale.id, newOrderId(sale.id), { quantity: 2 });
  expect(await gate.adjust(sale.id, 'w1', -2)).toEqual({ word: 'refused', available: 1, epoch: 1 });
  expect(await gate.adjust(sale.id, 'w2', -1)).toEqual({ word: 'applied', available: 0, epoch: 1 });
  expect((await gate.read(sale.id)).numbers).toEqual({ allotment: 2, available: 0, reserved: 2, sold: 0 });
});

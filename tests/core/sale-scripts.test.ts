/** What operators do to the inventory. */

import { newOrderId } from '@flash-sale/core/domain/order.ts';
import { createInventory, type Inventory } from '@flash-sale/core/inventory/inventory.ts';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { makeSale, reserveOne } from '../support/sales.ts';
import { openWorld, type World } from '../support/world.ts';

let world: World;
let inventory: Inventory;

beforeAll(async () => {
  world = await openWorld(inject('template'));
  inventory = createInventory(world);
});
afterAll(() => world.close());

test('[trap 7] an existing inventory is never created again', async () => {
  const sale = await makeSale(world, { units: 5 });
  await reserveOne(inventory, sale.id, newOrderId(sale.id));
  expect(await inventory.create(sale)).toBe(false);
  expect((await inventory.read(sale.id)).numbers).toEqual({ allotment: 5, available: 4, reserved: 1, sold: 0 });
});

test('[I8] an older version of the settings never overwrites a newer one', async () => {
  const sale = await makeSale(world);
  await inventory.configure({ ...sale, paused: true, version: 5 });
  await inventory.configure({ ...sale, paused: false, version: 4 });
  expect(await world.redis.hget(world.keys.sale(sale.id).inventory, 'paused')).toBe('1');
});

test('[I1] a withdrawal never takes a reserved unit', async () => {
  const sale = await makeSale(world, { units: 3 });
  await reserveOne(inventory, sale.id, newOrderId(sale.id), { quantity: 2 });
  expect(await inventory.adjust(sale.id, 'w1', -2)).toEqual({ kind: 'refused', available: 1, epoch: 1 });
  expect(await inventory.adjust(sale.id, 'w2', -1)).toEqual({ kind: 'applied', available: 0, epoch: 1 });
  expect((await inventory.read(sale.id)).numbers).toEqual({ allotment: 2, available: 0, reserved: 2, sold: 0 });
});

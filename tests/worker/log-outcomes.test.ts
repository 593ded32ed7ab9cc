/** What the ledger said is counted, written down and timed once, also where what comes after it fails and is done again. */
import { newOrderId } from '@flash-sale/core/domain/order.ts';
import { createInventory } from '@flash-sale/core/inventory/inventory.ts';
import { createOrderStore } from '@flash-sale/core/ledger/order-store.ts';
import { confirmOrders } from '@flash-sale/worker/orders/confirm-orders.ts';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { makeSale, reserveOne } from '../support/sales.ts';
import { openWorld, type World } from '../support/world.ts';

let world: World;
beforeAll(async () => {
  world = await openWorld(inject('template'));
});
afterAll(() => world.close());

test('settling fails once: the order is counted once and has its line, and every try is timed for each order', async () => {
  const sale = await makeSale(world);
  const inventory = createInventory(world);
  const id = newOrderId(sale.id);
  await reserveOne(inventory, sale.id, id, { buyerId: 'ann' });
  const order = await inventory.findReservation(sale.id, id);
  if (!order || order === 'recovering') throw new Error('no reservation');

  let settled = 0;
  const failsOnce = {
    ...inventory,
    async commit(...args: Parameters<typeof inventory.commit>) {
      settled += 1;
      if (settled === 1) throw new Error('Redis went away');
      return inventory.commit(...args);
    },
  };
  const counted: string[] = [];
  const timed: string[] = [];
  const parts = {
    inventory: failsOnce,
    orders: createOrderStore(world.pool),
    log: world.log,
    count: (outcome: string) => void counted.push(outcome),
    time: (stage: string, _ms: number, orders: number) => void timed.push(`${stage} ${orders}`),
  };
  const batch = { saleId: sale.id, epoch: 1, orders: [order] };
  await expect(confirmOrders(parts, batch)).rejects.toThrow('Redis went away');
  await confirmOrders(parts, batch);

  expect(counted).toEqual(['confirmed']);
  expect(world.lines.filter((line) => line.msg === 'order confirmed').map((line) => line.order_id)).toEqual([id]);
  expect(timed).toEqual(['confirm 1', 'commit 1', 'confirm 1', 'commit 1', 'whole 1']);
  expect((await inventory.read(sale.id)).numbers).toMatchObject({ reserved: 0, sold: 1 });
});

/** Outcomes are counted and logged once, and every try is timed, also if applying them fails. */

import { confirmOrders } from '@flash-sale/worker/orders/confirm-orders.ts';
import { createOrderInstrumentation } from '@flash-sale/worker/orders/measure-orders.ts';
import { expect, test } from 'vitest';
import { useWorld } from '../support/fixtures.ts';
import { makeSale } from '../support/sales.ts';
import { workerSteps } from '../support/worker-steps.ts';

const world = useWorld();

test('committing fails once: the order is counted and logged once, and both tries are timed for each order', async () => {
  const steps = workerSteps(world);
  const sale = await makeSale(world);
  const { id } = await steps.order(sale.id);
  const batch = await steps.batchOf(sale.id, id);
  const counted: string[] = [];
  const timed: string[] = [];
  const measures = createOrderInstrumentation((stage, _, orders) => void timed.push(`${stage} ${orders}`), null);
  let commits = 0;
  const failsOnce = {
    ...steps.inventory,
    async commit(...args: Parameters<typeof steps.inventory.commit>) {
      commits += 1;
      if (commits === 1) throw new Error('Redis is unavailable');
      return steps.inventory.commit(...args);
    },
  };
  const dependencies = {
    inventory: measures.inventory(failsOnce),
    orders: measures.ledger(steps.orders),
    rejectUnknown: steps.rejectUnknown,
    log: world.log,
    count: (status: string) => void counted.push(status),
  };
  const confirm = () => measures.confirmation(batch, () => confirmOrders(dependencies, batch));
  await expect(confirm()).rejects.toThrow('Redis is unavailable');
  await confirm();

  expect(counted).toEqual(['confirmed']);
  expect(world.lines.filter((line) => line.msg === 'order confirmed').map((line) => line.order_id)).toEqual([id]);
  expect(timed).toEqual(['confirm 1', 'commit 1', 'confirm 1', 'commit 1', 'end_to_end 1']);
  expect(await steps.numbers(sale.id)).toMatchObject({ reserved: 0, sold: 1 });
});

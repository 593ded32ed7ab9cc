/**
 * Redis lost an idempotency key and accepted a second order under it. However the second is
 * rejected, the key leads to the first again before the second reservation ends.
 */
import type { AcceptedOrder, OrderBatch } from '@flash-sale/core/domain/order.ts';
import { createOrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import { rejectOrders } from '@flash-sale/worker/orders/reject-orders.ts';
import { createReaper } from '@flash-sale/worker/recovery/reaper.ts';
import { beforeEach, expect, test } from 'vitest';
import { useWorld } from '../support/fixtures.ts';
import { makeSale } from '../support/sales.ts';
import { useWorkerSteps } from '../support/worker-steps.ts';

const BUYER = 'ann';
const KEY = 'a key';

const world = useWorld();
const steps = useWorkerSteps(world);
let first: AcceptedOrder;
/** Under the same key, accepted and not yet decided. */
let second: OrderBatch;

beforeEach(async () => {
  const sale = await makeSale(world, { units: 10 });
  const before = await reserve(sale.id);
  [first] = before.orders as [AcceptedOrder];
  await steps.confirm(before);
  await world.redis.hdel(world.keys.sale(sale.id).orderKeys, `${BUYER} ${KEY}`);
  second = await reserve(sale.id);
});

const ask = (saleId: string) => steps.order(saleId, { buyerId: BUYER, key: KEY });
const reserve = async (saleId: string): Promise<OrderBatch> => steps.batchOf(saleId, (await ask(saleId)).id);

/** @returns to which order the key leads, and how many units are reserved */
async function seen(): Promise<{ leadsTo: string | undefined; reserved: number | undefined }> {
  const value = await world.redis.hget(world.keys.sale(second.saleId).orderKeys, `${BUYER} ${KEY}`);
  return { leadsTo: value?.split(' ')[0], reserved: (await steps.inventory.read(second.saleId)).numbers?.reserved };
}

const secondId = (): string => (second.orders[0] as AcceptedOrder).id;

const dies = async (): Promise<never> => {
  throw new Error('killed here');
};

async function reaper(): Promise<void> {
  const queue = createOrderQueue({ redis: world.redis, prefix: world.keys.queuePrefix });
  const reject = (batch: OrderBatch) => rejectOrders(steps, batch);
  await createReaper({ ...steps, queue, reject, orphanAgeMs: -1 }).runOnce();
  await queue.close();
}

test('[I4] the ledger rejects the second order of the key', async () => {
  await steps.confirm(second);
  expect(await steps.orders.outcomesOf([secondId()])).toMatchObject([
    { status: 'rejected', reason: 'DUPLICATE_REQUEST' },
  ]);
  expect(await seen()).toEqual({ leadsTo: first.id, reserved: 0 });
  expect(await ask(second.saleId)).toEqual({ kind: 'replayed', id: first.id });
});

test('[I4] the worker rejects it before the ledger sees the key', async () => {
  await rejectOrders(steps, second);
  expect(await steps.orders.outcomesOf([secondId()])).toMatchObject([{ status: 'rejected', reason: 'UNCONFIRMABLE' }]);
  expect(await seen()).toEqual({ leadsTo: first.id, reserved: 0 });
});

test('[I4] the worker dies before it points the key back: the reaper points it back and releases', async () => {
  const dying = { ...steps.inventory, pointKey: dies };
  await expect(steps.confirm(second, { inventory: dying })).rejects.toThrow('killed here');
  expect(await seen()).toEqual({ leadsTo: secondId(), reserved: 1 });
  await reaper();
  expect(await seen()).toEqual({ leadsTo: first.id, reserved: 0 });
});

test('[I4] the worker dies before it releases: the key leads back already, and the reaper releases', async () => {
  const dying = { ...steps.inventory, release: dies };
  await expect(steps.confirm(second, { inventory: dying })).rejects.toThrow('killed here');
  expect(await seen()).toEqual({ leadsTo: first.id, reserved: 1 });
  await reaper();
  expect(await seen()).toEqual({ leadsTo: first.id, reserved: 0 });
});

test('a rejected order keeps its key if no order under it is confirmed', async () => {
  await world.pool.query(`DELETE FROM orders WHERE id = $1`, [first.id]);
  await rejectOrders(steps, second);
  expect(await seen()).toEqual({ leadsTo: secondId(), reserved: 0 });
});

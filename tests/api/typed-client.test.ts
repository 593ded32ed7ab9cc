/** The README's calls by a client generated from docs/openapi.json: the types are the test. */
import createClient from 'openapi-fetch';
import { expect, test } from 'vitest';
import type { components, paths } from '../../docs/openapi.d.ts';
import { BEARER, useApi, useWorker, useWorld } from '../support/fixtures.ts';
import { makeSale, untilSold } from '../support/sales.ts';

const world = useWorld();
const api = useApi(world);
useWorker(world);

/** Holds for types only: `true` if both are the same. */
type Same<A, B> = [A, B] extends [B, A] ? true : false;
type Answers<Path extends keyof paths, Method extends keyof paths[Path]> = paths[Path][Method] extends {
  responses: infer Responses;
}
  ? Responses
  : never;
type ProblemAt<Responses, Status extends keyof Responses> = Responses[Status] extends {
  content: { 'application/problem+json': infer Found };
}
  ? Found
  : never;

test('an order without a body, its status, and a refusal', async () => {
  const sale = await makeSale(world, { perBuyerLimit: 1 });
  const path = { product_id: sale.id };
  const client = createClient<paths>({ baseUrl: api.url, headers: { 'X-User-ID': 'alice' } });
  const { data: placed } = await client.POST('/api/flash-sales/{product_id}/order', { params: { path } });
  if (placed?.status !== 'accepted') throw new Error('not accepted');
  const replayed: true | undefined = placed.replayed;
  expect(replayed).toBeUndefined();
  await untilSold(world, sale.id, 1);

  const order = await client.GET('/api/orders/{order_id}', { params: { path: { order_id: placed.order_id } } });
  // @ts-expect-error only a confirmed order has an amount
  expect(order.data?.amount).toBe(99.99);
  if (order.data?.status !== 'confirmed') throw new Error('not confirmed');
  const { amount, currency }: { amount: number; currency: string } = order.data;
  expect([amount, currency]).toEqual([99.99, 'USD']);

  const again = await client.POST('/api/flash-sales/{product_id}/order', {
    params: { path, header: { 'idempotency-key': 'k' } },
    body: { quantity: 1 },
  });
  // @ts-expect-error there is no such code
  expect(again.error?.code === 'NO_SUCH_CODE').toBe(false);
  expect(again.error?.code === 'BUYER_LIMIT' && again.error.holds).toBe(1);
  // @ts-expect-error a quantity is a number
  await client.POST('/api/flash-sales/{product_id}/order', { params: { path }, body: { quantity: '1' } });
});

test('sales that will start, and an operator’s sale: a value that is missing or wrong is a type error', async () => {
  const client = createClient<paths>({ baseUrl: api.url });
  const { data } = await client.GET('/api/flash-sales', { params: { query: { state: 'scheduled' } } });
  expect(data?.count).toBe(0);
  // @ts-expect-error there is no such state
  await client.GET('/api/flash-sales', { params: { query: { state: 'over' } } });
  const sale = { product_id: 'typed', name: 'Typed', original_price: '2.00', flash_sale_price: '1.00', units: 1 };
  const window = { starts_at: '2100-01-01T00:00:00Z', ends_at: '2100-01-02T00:00:00Z' };
  // @ts-expect-error the currency is missing
  await client.POST('/api/admin/sales', { headers: BEARER, body: { ...sale, ...window } });
  const made = await client.POST('/api/admin/sales', {
    headers: BEARER,
    body: { ...sale, ...window, currency: 'USD' },
  });
  const price: string | undefined = made.data?.flash_sale_price;
  expect(price).toBe('1.00');
});

test('a code belongs to its route and status', () => {
  type Ordering = Answers<'/api/flash-sales/{product_id}/order', 'post'>;
  const refused: Same<ProblemAt<Ordering, 401>['code'], 'BUYER_REQUIRED' | 'INVALID_TOKEN' | 'TOKEN_EXPIRED'> = true;
  const waits: Extract<ProblemAt<Ordering, 503>['code'], 'LEDGER_BEHIND'> = 'LEDGER_BEHIND';
  // @ts-expect-error reading an order cannot find it sold out
  const sold: ProblemAt<Answers<'/api/orders/{order_id}', 'get'>, 400>['code'] = 'SOLD_OUT';
  const any: components['schemas']['Problem']['code'][] = [waits, sold];
  expect([refused, any]).toEqual([true, ['LEDGER_BEHIND', 'SOLD_OUT']]);
});

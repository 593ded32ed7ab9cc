/** What the crowd reads of sales, and what it costs Redis and PostgreSQL. */
import { expect, test } from 'vitest';
import { times, useApi, useWorld } from '../support/fixtures.ts';
import { makeSale } from '../support/sales.ts';
import { eventually } from '../support/world.ts';

const world = useWorld();
const api = useApi(world);

const read = (saleId: string) => api.get(`/api/flash-sales/${saleId}`);

test('the list has active sales with units remaining; `state` also lists the scheduled ones, or all', async () => {
  const now = Date.now();
  const active = await makeSale(world, { name: 'Active', description: 'Ünïcode 秒杀' });
  const soldOut = await makeSale(world, { units: 1 });
  await api.order(soldOut.id);
  const scheduled = await makeSale(world, { startsAt: now + 60_000, endsAt: now + 120_000 });
  const ended = await makeSale(world, { startsAt: now - 120_000, endsAt: now - 60_000 });
  const longOver = await makeSale(world, { startsAt: now - 9_000_000, endsAt: now - 8_000_000 });
  const paused = await makeSale(world);
  await api.admin('POST', `/sales/${paused.id}/pause`);
  await eventually('the list is fresh', 2_000, async () => (await api.get('/api/flash-sales')).body.count === 1);
  const { status, body } = await api.get('/api/flash-sales');
  expect(status).toBe(200);
  expect(body).toEqual({
    flash_sales: [
      {
        id: active.id,
        name: 'Active',
        description: 'Ünïcode 秒杀',
        original_price: 199.99,
        flash_sale_price: 99.99,
        currency: 'USD',
        starts_at: new Date(active.startsAt).toISOString(),
        ends_at: new Date(active.endsAt).toISOString(),
        state: 'active',
        remaining: 10,
        per_buyer_limit: 0,
      },
    ],
    count: 1,
    next_cursor: null,
    server_time: expect.any(String),
  });
  expect(Math.abs(Date.parse(body.server_time) - Date.now())).toBeLessThan(2_000);
  const idsOf = async (state: string): Promise<string[]> => {
    const listed = (await api.get(`/api/flash-sales?state=${state}`)).body;
    expect(listed.count).toBe(listed.flash_sales.length);
    return listed.flash_sales.map(({ id }: { id: string }) => id);
  };
  expect(await idsOf('active')).toEqual([active.id]);
  expect(await idsOf('scheduled')).toEqual([scheduled.id]);
  const all = await idsOf('all');
  expect(all).toEqual(expect.arrayContaining([active, soldOut, scheduled, ended, paused].map(({ id }) => id)));
  expect(all).not.toContain(longOver.id);
  for (const query of ['state=over', 'state=', 'state=active&state=all'])
    expect((await api.get(`/api/flash-sales?${query}`)).word, query).toBe('400 INVALID_REQUEST');
  expect((await api.get('/api/flash-sales?state=over')).body.detail).toBe(
    'querystring/state must be equal to one of the allowed values: active, scheduled, all.',
  );
});

test('a sale can be read in each of its states', async () => {
  const now = Date.now();
  const scheduled = await makeSale(world, { startsAt: now + 60_000, endsAt: now + 120_000 });
  const ended = await makeSale(world, { startsAt: now - 120_000, endsAt: now - 60_000 });
  const longOver = await makeSale(world, { startsAt: now - 9_000_000, endsAt: now - 8_000_000 });
  const lost = await makeSale(world);
  await world.redis.del(world.keys.sale(lost.id).inventory);
  await eventually('the sale is known', 3_000, async () => (await read(lost.id)).status === 200);
  for (const [sale, state] of [
    [scheduled, 'scheduled'],
    [ended, 'ended'],
    [longOver, 'ended'],
    [lost, 'recovering'],
  ] as const) {
    const { status, body } = await read(sale.id);
    expect([status, body.product.state]).toEqual([200, state]);
    expect(body.product.remaining).toBe(state === 'recovering' ? null : 10);
  }
  expect((await read('unknown')).word).toBe('404 SALE_NOT_FOUND');
});

test('a crowd that reads known and made-up sales costs a few commands of Redis and hardly a query', async () => {
  const sale = await makeSale(world);
  await read(sale.id);
  const { sales, inventory } = api.connections;
  let [queries, commands] = [0, 0];
  const kept = { find: sales.find, list: sales.list, read: inventory.read };
  sales.find = (id) => {
    queries += 1;
    return kept.find(id);
  };
  sales.list = (filter) => {
    queries += 1;
    return kept.list(filter);
  };
  inventory.read = (id) => {
    if (id === sale.id) commands += 1;
    return kept.read(id);
  };
  const startedAt = Date.now();
  await times(300, () => read(sale.id));
  const strangers = await times(300, (i) => read(`made-up-${i}`));
  const periods = Math.ceil((Date.now() - startedAt) / 400) + 1;
  Object.assign(sales, { find: kept.find, list: kept.list });
  inventory.read = kept.read;
  expect(strangers.every(({ status }) => status === 404)).toBe(true);
  expect(commands).toBeLessThanOrEqual(periods);
  expect(queries).toBeLessThanOrEqual(periods);
});

test('a ledger that lost its last changes is read, although its versions are lower', async () => {
  const sale = await makeSale(world);
  const has = (state: string) =>
    eventually(state, 2_000, async () => (await read(sale.id)).body.product?.state === state);
  await has('active');
  expect((await api.admin('POST', `/sales/${sale.id}/pause`)).status).toBe(200);
  await has('paused');
  await world.pool.query('UPDATE sales SET paused = false, version = version - 1 WHERE id = $1', [sale.id]);
  await world.redis.publish(world.keys.invalidationChannel(sale.id), sale.id);
  await has('active');
});

test.each(['refuses', 'does not answer'])('while PostgreSQL %s, the current sales are read at once', async (what) => {
  const sale = await makeSale(world);
  const listed = async () => (await api.get('/api/flash-sales')).text.includes(`"${sale.id}"`);
  await eventually('the catalogue has it', 2_000, listed);
  const { sales } = api.connections;
  const { find, list, versions } = sales;
  let asked = 0;
  const silence = Promise.withResolvers<void>();
  const unavailable = async () => {
    asked += 1;
    if (what !== 'refuses') await silence.promise;
    throw Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
  };
  Object.assign(sales, { find: unavailable, list: unavailable, versions: unavailable });
  await world.redis.publish(world.keys.invalidationChannel(sale.id), sale.id);
  await eventually('the catalogue is outdated', 5_000, async () => {
    expect((await read(sale.id)).body.product?.id).toBe(sale.id);
    return asked > 0;
  });
  expect([(await read(sale.id)).body.product?.id, await listed()]).toEqual([sale.id, true]);
  Object.assign(sales, { find, list, versions });
  silence.resolve();
});

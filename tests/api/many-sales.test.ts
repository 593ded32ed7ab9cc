/** The list with many sales: bounded pages, and few reads of the inventory for each. */
import { createCatalogue } from '@flash-sale/api/sales/catalogue.ts';
import { createInventory } from '@flash-sale/core/inventory/inventory.ts';
import { createSaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import { beforeEach, expect, onTestFinished, test, vi } from 'vitest';
import { openApi, type TestApi, times, useWorldPerTest, withApi } from '../support/fixtures.ts';
import { makeSale } from '../support/sales.ts';
import { OPERATOR } from '../support/worker-steps.ts';
import { eventually } from '../support/world.ts';

const HOUR = 3_600_000;

const world = useWorldPerTest();
const INSERT = `INSERT INTO sales (id, name, original_price, flash_sale_price, currency, allotment, starts_at, ends_at)
  SELECT 'lost' || i, 'x', 1, 1, 'USD', 1, now() - interval '2 d', now() + interval '1 d'`;

let api: TestApi;
/** Sales whose numbers were read, once for each read. */
let read: string[];

beforeEach(() => {
  read = [];
});

async function open(): Promise<void> {
  api = await openApi(world);
  const { inventory } = api.connections;
  const readInventory = inventory.read;
  inventory.read = (saleId) => {
    read.push(saleId);
    return readInventory(saleId);
  };
}

/** @returns ids of all pages, and the size of each page */
async function walk(query: string): Promise<{ ids: string[]; sizes: number[] }> {
  const [ids, sizes]: [string[], number[]] = [[], []];
  for (let cursor: string | null = ''; cursor !== null; ) {
    const { status, body } = await api.get(`/api/flash-sales?${query}${cursor && `&cursor=${cursor}`}`);
    expect([status, body.count]).toEqual([200, body.flash_sales.length]);
    ids.push(...body.flash_sales.map(({ id }: { id: string }) => id));
    sizes.push(body.count);
    cursor = body.next_cursor;
  }
  return { ids, sizes };
}

test('pages follow each other by start and id; a default page has at most 100 sales', async () => {
  const start = Date.now() - HOUR;
  // Some start together.
  const sales = await times(105, (i) => makeSale(world, { startsAt: start + Math.floor(i / 3) }));
  const byStart = sales.toSorted((a, b) => a.startsAt - b.startsAt || (a.id < b.id ? -1 : 1)).map(({ id }) => id);
  await open();
  expect(await walk('')).toEqual({ ids: byStart, sizes: [100, 5] });
  expect(await walk('state=active&limit=40')).toEqual({ ids: byStart, sizes: [40, 40, 25] });
  expect((await walk('state=all&limit=1')).ids).toEqual(byStart);
  // A sale that ends between two pages does not shift the others.
  const { next_cursor: cursor } = (await api.get('/api/flash-sales?limit=10')).body;
  expect((await api.admin('POST', `/sales/${byStart[2]}/pause`)).status).toBe(200);
  const second = (await api.get(`/api/flash-sales?limit=10&cursor=${cursor}`)).body;
  expect(second.flash_sales[0].id).toBe(byStart[10]);
  for (const wrong of [
    'limit=0',
    'limit=101',
    'limit=1.5',
    'limit=',
    'cursor=',
    'cursor=made-up',
    'cursor=1~',
    'page=2',
  ])
    expect([wrong, (await api.get(`/api/flash-sales?${wrong}`)).status]).toEqual([
      wrong,
      wrong === 'page=2' ? 200 : 400,
    ]);
});

test('the first page has the active sales behind many sold-out ones, which are not read again each time', async () => {
  const now = Date.now();
  // As good as sold out: without an inventory they are not active.
  await world.pool.query(`${INSERT} FROM generate_series(1, 650) i`);
  const active = await makeSale(world, { units: 1 });
  const scheduled = await makeSale(world, { startsAt: now + HOUR, endsAt: now + 2 * HOUR });
  const ended = await makeSale(world, { startsAt: now - HOUR, endsAt: now - 1 });
  await open();
  expect(await walk('')).toEqual({ ids: [active.id], sizes: [1] });
  expect(await walk('limit=1')).toEqual({ ids: [active.id], sizes: [1] });
  expect(read.includes(scheduled.id) || read.includes(ended.id)).toBe(false);
  const listed = async () => (await walk('')).ids;
  const startedAt = Date.now();
  read = [];
  await eventually('the pages were made again', 5_000, async () => {
    expect(await listed()).toEqual([active.id]);
    return read.filter((id) => id === active.id).length > 3;
  });
  expect(read.length).toBeLessThanOrEqual(301 * (2 + (Date.now() - startedAt) / 400));
  const { order_id: orderId } = (await api.order(active.id)).body;
  await eventually('it is sold out', 2_000, async () => (await listed()).length === 0);
  const { inventory } = api.connections;
  await inventory.release(active.id, 1, [orderId]);
  await eventually('its unit is back', 1_500, async () => (await listed()).length === 1);
  // Without a message.
  await world.redis.hset(
    world.keys.sale('lost9').inventory,
    await world.redis.hgetall(world.keys.sale(active.id).inventory),
  );
  await eventually('it is found', 5_000, async () => (await listed()).includes('lost9'));
});

test('a change through one process is in the list of another within a second or two', async () => {
  const sale = await makeSale(world);
  await open();
  await withApi(world, {}, async (other) => {
    const listed = async () => (await other.get('/api/flash-sales')).body.count;
    expect(await listed()).toBe(1);
    expect((await api.admin('POST', `/sales/${sale.id}/pause`)).status).toBe(200);
    await eventually('it is gone', 2_000, async () => (await listed()) === 0);
    await makeSale(world);
    await eventually('a new one is there', 2_000, async () => (await listed()) === 1);
  });
});

test('10,000 sales that have not ended are the most; a longer window of one that is over counts, too', async () => {
  await open();
  const over = await makeSale(world, { startsAt: Date.now() - HOUR, endsAt: Date.now() - 1 });
  await world.pool.query(`${INSERT} FROM generate_series(1, 10000) i`);
  const instant = (afterMs: number) => new Date(Date.now() + afterMs).toISOString();
  const window = { starts_at: instant(-HOUR), ends_at: instant(HOUR) };
  const create = () =>
    api.admin('POST', '/sales', {
      ...{ product_id: 'one-more', name: 'x', original_price: '2', flash_sale_price: '1', currency: 'USD', units: 1 },
      ...window,
    });
  const reopen = (id: string) => api.admin('POST', `/sales/${id}/window`, window);
  const past = { starts_at: instant(-3 * HOUR), ends_at: instant(-2 * HOUR), allow: ['window_over'] };
  expect((await create()).word).toBe('409 TOO_MANY_SALES');
  expect((await reopen(over.id)).word).toBe('409 TOO_MANY_SALES');
  expect((await reopen('unknown')).word).toBe('404 SALE_NOT_FOUND');
  const moved = await api.admin('POST', `/sales/${over.id}/window`, past);
  expect([moved.status, moved.body.ends_at]).toEqual([200, past.ends_at]);
  await world.pool.query(`UPDATE sales SET ends_at = now() WHERE id = 'lost1'`);
  expect((await create()).status).toBe(201);
  expect((await create()).word).toBe('409 SALE_EXISTS');
});

test('the list follows a clock of Redis that is set ahead, also if no active sale is read', async () => {
  const sale = await makeSale(world, { startsAt: Date.now() + HOUR / 2, endsAt: Date.now() + 3 * HOUR });
  await open();
  const { inventory } = api.connections;
  const { read: readInventory, now: readTime } = inventory;
  let aheadMs = 0;
  inventory.read = async (saleId) => {
    const found = await readInventory(saleId);
    return { ...found, now: found.now + aheadMs };
  };
  inventory.now = async () => (await readTime()) + aheadMs;
  const ids = async () => (await api.get('/api/flash-sales')).body.flash_sales.map(({ id }: { id: string }) => id);
  expect(await ids()).toEqual([]);
  aheadMs = HOUR;
  await eventually('it is listed', 3_000, async () => (await ids())[0] === sale.id);
});

test('numbers that are read at once cost a call for each hundred sales', async () => {
  const inventory = createInventory(world);
  // The first call also loads the script.
  await inventory.read('none');
  const sent = vi.spyOn(world.redis, 'sendCommand');
  await times(150, (i) => inventory.read(`none-${i}`));
  expect(sent).toHaveBeenCalledTimes(2);
});

test('a change whose message was lost is seen after five seconds', async () => {
  const sales = createSaleStore(world.pool);
  const { id } = await makeSale(world);
  const catalogue = createCatalogue({ sales, readTime: async () => Date.now(), log: world.log });
  const isPaused = async () => (await catalogue.read()).byId.get(id)?.paused;
  expect(await isPaused()).toBe(false);
  await sales.setPaused(id, true, OPERATOR);
  expect(await isPaused()).toBe(false);
  const { now } = performance;
  const later = vi.spyOn(performance, 'now').mockImplementation(() => now.call(performance) + 5_001);
  onTestFinished(() => later.mockRestore());
  await eventually('it is paused', 3_000, async () => (await isPaused()) === true);
});

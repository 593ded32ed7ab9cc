/** Redis's clock decides everywhere whether a sale is on, as it does for orders. */
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { BEARER, useApi, useWorld } from '../support/fixtures.ts';
import { makeSale } from '../support/sales.ts';
import { eventually } from '../support/world.ts';

const HOUR_MS = 3_600_000;
const at = (ms: number): string => new Date(ms).toISOString();
const SALE = { name: 'Thing', original_price: 2, flash_sale_price: 1, currency: 'USD', units: 10 };

describe.each([-HOUR_MS, HOUR_MS])('the clock of the API is %i ms off', (offMs) => {
  const world = useWorld();
  const api = useApi(world);
  afterEach(() => void vi.useRealTimers());

  test('an operator’s window is compared with Redis’s clock, when it is made and moved', async () => {
    const now = Date.now();
    vi.useFakeTimers({ toFake: ['Date'], now: now + offMs });
    const on = { starts_at: at(now - 60_000), ends_at: at(now + HOUR_MS / 2) };
    const over = { starts_at: at(now - HOUR_MS), ends_at: at(now - HOUR_MS / 2) };
    const create = (id: string, window: object) => api.admin('POST', '/sales', { product_id: id, ...SALE, ...window });
    const move = (id: string, window: object) => api.admin('POST', `/sales/${id}/window`, window);

    const refused = await create('over', over);
    expect([refused.word, refused.body.detail]).toEqual([
      '400 INVALID_REQUEST',
      expect.stringContaining('window_over'),
    ]);
    const made = await create('on', on);
    expect([made.status, made.body.state]).toEqual([201, 'active']);
    expect((await move('on', over)).word).toBe('400 INVALID_REQUEST');
    expect((await move('on', on)).status).toBe(200);

    const listed = (await api.get('/api/admin/sales', BEARER)).body.sales;
    const shown = (await api.get('/api/flash-sales')).body.flash_sales;
    for (const [sale] of [listed, shown]) expect(sale.state).toBe('active');
    expect((await api.order('on')).word).toBe('200 accepted');
  });
});

describe.each([-2, 2])('the clock of PostgreSQL is %i hours off', (hours) => {
  const world = useWorld();
  // A function of this name comes before the server's own.
  beforeAll(async () => {
    const database = new URL(world.databaseUrl).pathname.slice(1);
    await world.pool.query(`
      CREATE FUNCTION public.now() RETURNS timestamptz STABLE LANGUAGE sql
        AS $$ SELECT pg_catalog.now() + make_interval(hours => ${hours}) $$;
      ALTER DATABASE ${database} SET search_path = public, pg_catalog`);
  });
  const api = useApi(world);

  test('the list has the sales that are on, and none that ended long ago', async () => {
    const now = Date.now();
    const on = await makeSale(world, { startsAt: now - 60_000, endsAt: now + HOUR_MS / 2 });
    const over = await makeSale(world, { startsAt: now - 2 * HOUR_MS, endsAt: now - 1.5 * HOUR_MS });
    for (const [{ id }, word] of [
      [on, '200 accepted'],
      [over, '400 SALE_ENDED'],
    ] as const)
      expect((await api.order(id)).word).toBe(word);
    const listed = async () => {
      const { flash_sales: sales } = (await api.get('/api/flash-sales?state=all')).body;
      return sales.map(({ id, state }: Record<string, string>) => `${id} ${state}`).join();
    };
    await eventually('the list is fresh', 8_000, async () => (await listed()) === `${on.id} active`);
  });
});

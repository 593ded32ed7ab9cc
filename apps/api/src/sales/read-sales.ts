/**
 * Reads sales, for many buyers who reload a page. Everything is cached in process memory:
 *   answers    the serialised body, as long as the data in it is fresh
 *   settings   from the catalogue in Redis, else from PostgreSQL
 *   numbers    from the inventory, at most SALE_MEMORY_MS old, plus the time of the read
 * Callers that miss a cache at the same moment share one fetch.
 */
import type { Sale, StockNumbers } from '@flash-sale/core/domain/sale.ts';
import type { CatalogueCache } from '@flash-sale/core/inventory/catalogue-cache.ts';
import type { Inventory } from '@flash-sale/core/inventory/inventory.ts';
import type { SaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import type { FastifyBaseLogger } from 'fastify';
import { LRUCache } from 'lru-cache';
import { makeAnswer, type SaleAnswer, viewSale } from './sale-answer.ts';
import type { SaleView, WantedSales } from './sale-contract.ts';

/** Milliseconds that a sale's numbers are cached: with the fetch, under the promised second. */
const SALE_MEMORY_MS = 400;

/** Sales cached in process memory, known and unknown ids together. */
export const SALE_MEMORY_MAX = 10_000;

/**
 * Milliseconds that an answer is kept at least, even if one of its numbers expires: otherwise each
 * sale would rebuild the list. Together with SALE_MEMORY_MS, half of the promised second.
 */
const ANSWER_MS_MIN = 100;
/** Answers in memory, each under 6 kB. */
const ANSWERS_MAX = 1_000;
/** A sale stays in the catalogue for an hour after its end, so that late readers cost no query. */
const KEPT_AFTER_END_MS = 3_600_000;

interface LiveNumbers {
  /** Whether there is an inventory, open or closed. */
  readonly exists: boolean;
  /** Redis's clock when the numbers were read, ms since 1970. */
  readonly now: number;
  /** Start and end of the read: ms of performance.now(). */
  readonly askedAt: number;
  readonly readAt: number;
  readonly numbers: StockNumbers | null;
}

interface LiveView {
  readonly product: SaleView;
  /** Redis's clock, ms since 1970. */
  readonly now: number;
  readonly askedAt: number;
}

export type SaleReader = ReturnType<typeof createSaleReader>;

export function createSaleReader(deps: {
  inventory: Pick<Inventory, 'read'>;
  catalogueCache: CatalogueCache;
  sales: Pick<SaleStore, 'find' | 'list'>;
  log: FastifyBaseLogger;
}) {
  const { inventory, catalogueCache, sales, log } = deps;

  // A fetch that is invalidated still answers its callers, and is not kept.
  const kept = { ttl: SALE_MEMORY_MS, ignoreFetchAbort: true } as const;
  const catalogues = new LRUCache<'current', readonly Sale[]>({
    max: 1,
    ...kept,
    fetchMethod: async () => {
      const cached = await catalogueCache.read().catch(() => null);
      if (cached?.fresh) return cached.sales;
      let current: readonly Sale[];
      try {
        current = await sales.list({ endedWithinMs: KEPT_AFTER_END_MS, order: 'earliest first' });
      } catch (error) {
        if (cached) return cached.sales;
        throw error;
      }
      catalogueCache
        .write(current)
        .catch((error: Error) => log.debug({ err: error.message }, 'catalogue not kept in redis'));
      return current;
    },
  });
  const others = new LRUCache<string, { sale: Sale | null }>({
    max: SALE_MEMORY_MAX,
    ...kept,
    fetchMethod: async (saleId) => ({ sale: await sales.find(saleId) }),
  });
  const live = new LRUCache<string, LiveNumbers>({
    max: SALE_MEMORY_MAX,
    ...kept,
    fetchMethod: async (saleId, _stale, { options }) => {
      const askedAt = performance.now();
      const found = await inventory.read(saleId);
      const readAt = performance.now();
      // The numbers age while a slow inventory answers.
      options.ttl = Math.max(1, SALE_MEMORY_MS - Math.ceil(readAt - askedAt));
      return { ...found, askedAt, readAt };
    },
  });
  const answers = new LRUCache<string, SaleAnswer, Sale>({
    max: ANSWERS_MAX,
    ...kept,
    fetchMethod: async (saleId, _stale, { options, context: sale }) => {
      const { product, now, askedAt } = await view(sale);
      const listed = catalogues.peek('current')?.includes(sale);
      const settingsMs = listed ? catalogues.getRemainingTTL('current') : others.getRemainingTTL(saleId);
      options.ttl = keepMs(settingsMs, [sale], now);
      return makeAnswer({ product, server_time: new Date(now).toISOString() }, askedAt);
    },
  });
  const lists = new LRUCache<WantedSales, SaleAnswer>({
    max: 3,
    ...kept,
    fetchMethod: async (wanted, _stale, { options }) => {
      const current = await catalogues.forceFetch('current');
      const views = await Promise.all(current.map(view));
      // biome-ignore lint/plugin/wall-time: no sale, so no clock of Redis was read
      const now = views[0]?.now ?? Date.now();
      const products = views.flatMap(({ product }) => (wanted === 'all' || product.state === wanted ? [product] : []));
      options.ttl = keepMs(catalogues.getRemainingTTL('current'), current, now);
      return makeAnswer(
        { flash_sales: products, count: products.length, server_time: new Date(now).toISOString() },
        Math.min(performance.now(), ...views.map(({ askedAt }) => askedAt)),
      );
    },
  });

  /**
   * Milliseconds that an answer is kept: until its data expires, or a sale in it starts or ends.
   */
  function keepMs(settingsMs: number, sales: readonly Sale[], now: number): number {
    const numbersMs = Math.min(...sales.map(({ id }) => live.getRemainingTTL(id)));
    const turns = sales.flatMap(({ startsAt, endsAt }) => [startsAt - now, endsAt - now]).filter((ms) => ms > 0);
    const freshMs = Math.max(ANSWER_MS_MIN, Math.min(settingsMs, numbersMs));
    return Math.max(1, Math.ceil(Math.min(freshMs, ...turns)));
  }

  async function find(saleId: string): Promise<Sale | null> {
    const current = await catalogues.forceFetch('current');
    const known = current.find((sale) => sale.id === saleId);
    if (known) return known;
    // Every sale has an inventory, so requests with unknown ids never reach PostgreSQL.
    const { exists } = await live.forceFetch(saleId);
    return !exists ? null : (await others.forceFetch(saleId)).sale;
  }

  async function view(sale: Sale): Promise<LiveView> {
    const { now: readTime, askedAt, readAt, numbers } = await live.forceFetch(sale.id);
    // Redis's clock, advanced by the age of the cached numbers.
    const now = readTime + Math.floor(performance.now() - readAt);
    return { product: viewSale(sale, numbers, now), now, askedAt };
  }

  return {
    find,

    /**
     * @returns null if there is no such sale.
     *
     * @throws while neither Redis nor PostgreSQL answers
     */
    async read(saleId: string): Promise<SaleAnswer | null> {
      const kept = answers.get(saleId);
      if (kept) return kept;
      // Before the cache is used, so that unknown ids take no space in it.
      const sale = await find(saleId);
      return sale && answers.forceFetch(saleId, { context: sale });
    },

    /** `active`: with units remaining. */
    async list(wanted: WantedSales): Promise<SaleAnswer> {
      return lists.get(wanted) ?? lists.forceFetch(wanted);
    },

    /**
     * After an operator's change: clears the copy in Redis, then the caches here, so that the old
     * copy cannot refill them.
     */
    async forget(saleId: string): Promise<void> {
      try {
        await catalogueCache.clear();
      } finally {
        catalogues.clear();
        others.delete(saleId);
        live.delete(saleId);
        answers.delete(saleId);
        lists.clear();
      }
    },
  };
}

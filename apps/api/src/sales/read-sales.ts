/**
 * Reads of sales, for a crowd that reloads.
 *   Settings:  process memory, then Redis (the catalogue), then PostgreSQL.
 *   Numbers:   process memory, then the gate. Never older than SALE_MEMORY_MS plus the time of the fetch.
 * Callers that miss the memory at the same moment share one fetch.
 */
import { SALE_MEMORY_MAX, SALE_MEMORY_MS } from '@flash-sale/core/limits.ts';
import type { CatalogueCache } from '@flash-sale/core/redis/catalogue-cache.ts';
import { type Sale, type StockNumbers, saleState } from '@flash-sale/core/sales/sale.ts';
import type { SaleStore } from '@flash-sale/core/sales/sale-store.ts';
import type { StockGate } from '@flash-sale/core/stock/stock-gate.ts';
import type { FastifyBaseLogger } from 'fastify';
import { LRUCache } from 'lru-cache';
import type { SaleView } from './sale-contract.ts';

/** A sale stays in the catalogue for an hour after its end, so that "it is over" is as cheap to say as "it is on". */
const KEPT_AFTER_END_MS = 3_600_000;

interface LiveNumbers {
  /** Whether there is a gate, be it closed. */
  readonly exists: boolean;
  /** Milliseconds since 1970 by Redis' clock, as the numbers were read. */
  readonly now: number;
  readonly readAt: number;
  readonly numbers: StockNumbers | null;
}

export type SaleReader = ReturnType<typeof createSaleReader>;

export function createSaleReader(parts: {
  gate: Pick<StockGate, 'read'>;
  catalogueCache: CatalogueCache;
  sales: Pick<SaleStore, 'find' | 'listCurrent'>;
  log: FastifyBaseLogger;
}) {
  const { gate, catalogueCache, sales, log } = parts;

  const catalogues = new LRUCache<'current', readonly Sale[]>({
    max: 1,
    ttl: SALE_MEMORY_MS,
    ignoreFetchAbort: true,
    fetchMethod: async () => {
      const cached = await catalogueCache.read().catch(() => null);
      if (cached?.fresh) return cached.sales;
      let current: readonly Sale[];
      try {
        current = await sales.listCurrent(KEPT_AFTER_END_MS);
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
    ttl: SALE_MEMORY_MS,
    ignoreFetchAbort: true,
    fetchMethod: async (saleId) => ({ sale: await sales.find(saleId) }),
  });
  const live = new LRUCache<string, LiveNumbers>({
    max: SALE_MEMORY_MAX,
    ttl: SALE_MEMORY_MS,
    ignoreFetchAbort: true,
    fetchMethod: async (saleId) => ({ ...(await gate.read(saleId)), readAt: Date.now() }),
  });

  async function find(saleId: string): Promise<Sale | null> {
    const current = await catalogues.forceFetch('current');
    const known = current.find((sale) => sale.id === saleId);
    if (known) return known;
    // Every sale that was ever open has a gate. Made-up ids end here, at Redis, and never reach PostgreSQL.
    const { exists } = await live.forceFetch(saleId);
    return !exists ? null : (await others.forceFetch(saleId)).sale;
  }

  async function view(sale: Sale): Promise<{ product: SaleView; now: number }> {
    const { now: readTime, readAt, numbers } = await live.forceFetch(sale.id);
    // The window is judged by Redis' clock, moved on by the time that the numbers lay in memory.
    const now = readTime + (Date.now() - readAt);
    return { product: toView(sale, numbers, now), now };
  }

  return {
    find,

    /** @returns null where there is no such sale. @throws while neither Redis nor PostgreSQL answers */
    async read(saleId: string): Promise<{ product: SaleView; now: number } | null> {
      const sale = await find(saleId);
      return sale && view(sale);
    },

    /** Active sales with units remaining. */
    async list(): Promise<{ products: SaleView[]; now: number }> {
      const views = await Promise.all((await catalogues.forceFetch('current')).map(view));
      const active = views.filter(({ product }) => product.state === 'active').map(({ product }) => product);
      return { products: active, now: views[0]?.now ?? Date.now() };
    },

    /**
     * An operator changed this sale: what is remembered here is forgotten, and so is the copy in Redis. Fetches under way go on
     * for those who wait for them (ignoreFetchAbort).
     */
    async forget(saleId: string): Promise<void> {
      catalogues.clear();
      others.delete(saleId);
      live.delete(saleId);
      await catalogueCache.clear();
    },
  };
}

function toView(sale: Sale, numbers: StockNumbers | null, now: number): SaleView {
  const state = saleState(sale, now);
  const soldOut = state === 'active' && numbers?.available === 0;
  return {
    id: sale.id,
    name: sale.name,
    description: sale.description,
    original_price: Number(sale.originalPrice),
    flash_sale_price: Number(sale.flashSalePrice),
    currency: sale.currency,
    starts_at: new Date(sale.startsAt).toISOString(),
    ends_at: new Date(sale.endsAt).toISOString(),
    state: numbers === null ? 'recovering' : soldOut ? 'sold_out' : state,
    remaining: numbers?.available ?? null,
    per_buyer_limit: sale.perBuyerLimit,
  };
}

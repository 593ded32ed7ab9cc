/**
 * Reads sales, for many buyers who reload a page. Everything is cached in process memory:
 *   answers    the serialised body, as long as the data in it is fresh
 *   settings   from the catalogue; those of other sales from PostgreSQL
 *   numbers    from the inventory, at most SALE_MEMORY_MS old, plus the time of the read
 * Callers that miss a cache at the same moment share one fetch.
 */
import { type Sale, type StockNumbers, saleState } from '@flash-sale/core/domain/sale.ts';
import type { Inventory } from '@flash-sale/core/inventory/inventory.ts';
import type { SaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import type { FastifyBaseLogger } from 'fastify';
import { LRUCache } from 'lru-cache';
import { type Catalogue, compareSales, createCatalogue } from './catalogue.ts';
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
/** Characters of pages in memory. */
const PAGES_MAX = 8_000_000;
/** Sales whose numbers are read together: one call of a script. */
const READS_AT_ONCE = 100;
/** Sales whose numbers one page reads: where most are sold out, it has fewer than its limit. */
const PAGE_READS_MAX = 300;

export interface WantedPage {
  readonly state: WantedSales;
  /** Sales in the page. */
  readonly limit: number;
  /** The page begins after this sale; null: with the earliest. */
  readonly after: { readonly startsAt: number; readonly id: string } | null;
}

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
  sales: Pick<SaleStore, 'find' | 'list' | 'versions'>;
  log: FastifyBaseLogger;
}) {
  const { inventory, sales } = deps;
  const catalogue = createCatalogue(deps);
  /** Redis's clock when it was read last, by performance.now(). */
  let clock: Pick<LiveNumbers, 'now' | 'readAt'> | null = null;

  // A fetch that is invalidated still answers its callers, and is not kept.
  const kept = { ttl: SALE_MEMORY_MS, ignoreFetchAbort: true } as const;
  const catalogues = new LRUCache<'current', Catalogue>({ max: 1, ...kept, fetchMethod: catalogue.read });
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
      clock = { now: found.now, readAt };
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
      const listed = catalogues.peek('current')?.byId.has(saleId);
      const settingsMs = listed ? catalogues.getRemainingTTL('current') : others.getRemainingTTL(saleId);
      options.ttl = keepMs(settingsMs, [sale], [sale], now);
      return makeAnswer({ product, server_time: new Date(now).toISOString() }, askedAt);
    },
  });
  const pages = new LRUCache<string, SaleAnswer, WantedPage>({
    maxSize: PAGES_MAX,
    sizeCalculation: ({ body }) => body.length,
    ...kept,
    fetchMethod: async (_key, _stale, { options, context }) => {
      const { current, found, read, next, now } = await readPage(context);
      options.ttl = keepMs(catalogues.getRemainingTTL('current'), read, current, now);
      return makeAnswer(
        {
          flash_sales: found.map(({ product }) => product),
          count: found.length,
          next_cursor: next && cursorOf(next),
          server_time: new Date(now).toISOString(),
        },
        Math.min(performance.now(), ...found.map(({ askedAt }) => askedAt)),
      );
    },
  });

  /** Reads numbers only of sales that may be in the page. */
  async function readPage({ state, limit, after }: WantedPage) {
    const { sales: current } = await catalogues.forceFetch('current');
    if (!clock && current[0]) await view(current[0]);
    // biome-ignore lint/plugin/wall-time: no sale, so no clock of Redis was read
    let now = clock ? timeAt(clock) : Date.now();
    const found: LiveView[] = [];
    const read: Sale[] = [];
    const maybe = current.filter(
      (sale) => (!after || compareSales(sale, after) > 0) && (state === 'all' || saleState(sale, now) === state),
    );
    while (read.length < maybe.length && found.length < limit && read.length < PAGE_READS_MAX) {
      const some = maybe.slice(read.length, read.length + READS_AT_ONCE);
      for (const [i, one] of (await Promise.all(some.map(view))).entries()) {
        if (found.length === limit) break;
        now = one.now;
        read.push(some[i] as Sale);
        if (state === 'all' || one.product.state === state) found.push(one);
      }
    }
    return { current, found, read, next: read.length < maybe.length ? (read.at(-1) as Sale) : null, now };
  }

  /**
   * Milliseconds that an answer is kept: until its data expires, or one of `turning` starts or
   * ends.
   */
  function keepMs(settingsMs: number, read: readonly Sale[], turning: readonly Sale[], now: number): number {
    const numbersMs = Math.min(...read.map(({ id }) => live.getRemainingTTL(id)));
    let keep = Math.max(ANSWER_MS_MIN, Math.min(settingsMs, numbersMs));
    for (const { startsAt, endsAt } of turning)
      for (const at of [startsAt, endsAt]) if (at > now) keep = Math.min(keep, at - now);
    return Math.max(1, Math.ceil(keep));
  }

  async function find(saleId: string): Promise<Sale | null> {
    const known = (await catalogues.forceFetch('current')).byId.get(saleId);
    if (known) return known;
    // Every sale has an inventory, so requests with unknown ids never reach PostgreSQL.
    const { exists } = await live.forceFetch(saleId);
    return !exists ? null : (await others.forceFetch(saleId)).sale;
  }

  async function view(sale: Sale): Promise<LiveView> {
    const { numbers, askedAt, ...read } = await live.forceFetch(sale.id);
    const now = timeAt(read);
    return { product: viewSale(sale, numbers, now), now, askedAt };
  }

  return {
    find,

    /** Before the first request, so that PostgreSQL may be unavailable from then on. */
    load: (): Promise<unknown> => catalogues.forceFetch('current').catch(() => {}),

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
    async list(wanted: WantedPage): Promise<SaleAnswer> {
      const key = `${wanted.state} ${wanted.limit} ${wanted.after && cursorOf(wanted.after)}`;
      return pages.get(key) ?? pages.forceFetch(key, { context: wanted });
    },

    /** @param saleId whose window or pause may have changed; null: of any */
    invalidate: catalogue.invalidate,

    /** After an operator's change: the next read has it. */
    async forget(saleId: string): Promise<void> {
      await catalogue.reread(saleId);
      catalogues.clear();
      others.delete(saleId);
      live.delete(saleId);
      answers.delete(saleId);
      pages.clear();
    },
  };
}

/** Redis's clock, advanced by the age of its read. */
const timeAt = ({ now, readAt }: Pick<LiveNumbers, 'now' | 'readAt'>): number =>
  now + Math.floor(performance.now() - readAt);

const cursorOf = ({ startsAt, id }: Pick<Sale, 'startsAt' | 'id'>): string => `${startsAt}~${id}`;

/** Of a text that matches CURSOR_PATTERN. */
export function readCursor(text: string): WantedPage['after'] {
  const [startsAt, id] = text.split('~') as [string, string];
  return { startsAt: Number(startsAt), id };
}

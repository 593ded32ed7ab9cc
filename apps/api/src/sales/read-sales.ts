/**
 * Reads sales, for many buyers who reload a page. Everything is cached in process memory:
 *   answers    the serialised body, as long as the data in it is fresh
 *   settings   from the catalogue; those of other sales from PostgreSQL
 *   numbers    from the inventory, at most SALE_MEMORY_MS old, plus the time of the read
 * Callers that miss a cache at the same moment share one fetch.
 */
import { type Sale, type SaleState, type StockNumbers, saleState } from '@flash-sale/core/domain/sale.ts';
import type { Inventory } from '@flash-sale/core/inventory/inventory.ts';
import type { SaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import type { FastifyBaseLogger } from 'fastify';
import { LRUCache } from 'lru-cache';
import { type Catalogue, compareSales, createCatalogue } from './catalogue.ts';
import { makeAnswer, type SaleAnswer, viewSale } from './sale-answer.ts';
import type { SaleView, WantedSales } from './sale-contract.ts';

/** Milliseconds that a sale's numbers are cached: with the fetch, under the promised second. */
const SALE_MEMORY_MS = 400;

/** Milliseconds that Redis's clock is extrapolated: it can be set, or be that of another Redis. */
const CLOCK_MS = 1_000;

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
/** Sold-out sales that are read again every SALE_MEMORY_MS, for a lost message. */
const SOLD_OUT_READS_MAX = 300;

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
  /** A message came during the read: units may be back. */
  readonly isOutdated: boolean;
}

interface LiveView {
  readonly product: SaleView;
  /** Redis's clock, ms since 1970. */
  readonly now: number;
  readonly askedAt: number;
}

/** What pages are cut from. */
type Lists = Readonly<Record<WantedSales, readonly Sale[]>> & {
  /** Redis's clock, ms since 1970. */
  readonly now: number;
  /** When the next sale starts or ends. */
  readonly turnsAt: number;
};

export type SaleReader = ReturnType<typeof createSaleReader>;

export function createSaleReader(deps: {
  inventory: Pick<Inventory, 'read' | 'now'>;
  sales: Pick<SaleStore, 'find' | 'list' | 'versions'>;
  log: FastifyBaseLogger;
}) {
  const { inventory, sales } = deps;
  const catalogue = createCatalogue({ ...deps, readTime });
  /** Redis's clock when it was read last, by performance.now(). */
  let clock: Pick<LiveNumbers, 'now' | 'readAt'> | null = null;
  /** Ids of sales that were sold out or recovering when they were read, the oldest read first. */
  const soldOut = new Set<string>();

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
    fetchMethod: async (saleId, _stale, { options, signal }) => {
      const askedAt = performance.now();
      const found = await inventory.read(saleId);
      const readAt = performance.now();
      clock = { now: found.now, readAt };
      // The numbers age while a slow inventory answers.
      options.ttl = Math.max(1, SALE_MEMORY_MS - Math.ceil(readAt - askedAt));
      return { ...found, askedAt, readAt, isOutdated: signal.aborted };
    },
  });
  const answers = new LRUCache<string, SaleAnswer, Sale>({
    max: ANSWERS_MAX,
    ...kept,
    fetchMethod: async (saleId, _stale, { options, context: sale }) => {
      const { product, now, askedAt } = await view(sale);
      const listed = catalogues.peek('current')?.byId.has(saleId);
      const settingsMs = listed ? catalogues.getRemainingTTL('current') : others.getRemainingTTL(saleId);
      options.ttl = keepMs(settingsMs, [sale], nextTurn([sale], now) - now);
      return makeAnswer({ product, server_time: new Date(now).toISOString() }, askedAt);
    },
  });
  const pages = new LRUCache<string, SaleAnswer, WantedPage>({
    maxSize: PAGES_MAX,
    sizeCalculation: ({ body }) => body.length,
    ...kept,
    fetchMethod: async (_key, _stale, { options, context }) => {
      const { found, read, next, now, turnsAt } = await readPage(context);
      options.ttl = keepMs(lists.getRemainingTTL('current'), read, turnsAt - now);
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

  const lists = new LRUCache<'current', Lists>({
    max: 1,
    ...kept,
    fetchMethod: async (_key, _stale, { options }) => {
      const { sales: all, byId } = await catalogues.forceFetch('current');
      const again = [...soldOut].slice(0, SOLD_OUT_READS_MAX);
      for (const id of again) if (!byId.has(id)) soldOut.delete(id);
      await Promise.all(again.flatMap((id) => byId.get(id) ?? []).map(view));
      const now = await readTime();
      const turnsAt = nextTurn(all, now);
      options.ttl = Math.max(1, Math.min(SALE_MEMORY_MS, catalogues.getRemainingTTL('current'), turnsAt - now));
      const inState = (state: SaleState) =>
        all.filter((sale) => !soldOut.has(sale.id) && saleState(sale, now) === state);
      return { all, active: inState('active'), scheduled: inState('scheduled'), now, turnsAt };
    },
  });

  async function readTime(): Promise<number> {
    if (clock === null || performance.now() - clock.readAt > CLOCK_MS) {
      const now = await inventory.now().catch(() => null);
      if (now !== null) clock = { now, readAt: performance.now() };
    }
    // biome-ignore lint/plugin/wall-time: Redis has not answered yet
    return clock ? timeAt(clock) : Date.now();
  }

  /** Full, unless it is the last one. */
  async function readPage({ state, limit, after }: WantedPage) {
    const { [state]: listed, turnsAt, ...rest } = await lists.forceFetch('current');
    let { now } = rest;
    const found: LiveView[] = [];
    const read: Sale[] = [];
    const begin = after === null ? 0 : firstAfter(listed, after);
    let at = begin;
    while (at < listed.length && found.length < limit) {
      const some = listed.slice(at, at + (at === begin ? limit : READS_AT_ONCE));
      for (const [i, one] of (await Promise.all(some.map(view))).entries()) {
        if (found.length === limit) break;
        now = one.now;
        at += 1;
        read.push(some[i] as Sale);
        if (state === 'all' || one.product.state === state) found.push(one);
      }
    }
    return { found, read, next: at < listed.length ? (read.at(-1) as Sale) : null, now, turnsAt };
  }

  /**
   * Milliseconds that an answer is kept: until its data expires, or a sale starts or ends in
   * `turnMs`.
   */
  function keepMs(settingsMs: number, read: readonly Sale[], turnMs: number): number {
    const numbersMs = Math.min(...read.map(({ id }) => live.getRemainingTTL(id)));
    const keep = Math.max(ANSWER_MS_MIN, Math.min(settingsMs, numbersMs));
    return Math.max(1, Math.ceil(Math.min(keep, turnMs)));
  }

  async function find(saleId: string): Promise<Sale | null> {
    const known = (await catalogues.forceFetch('current')).byId.get(saleId);
    if (known) return known;
    // Every sale has an inventory, so requests with unknown ids never reach PostgreSQL.
    const { exists } = await live.forceFetch(saleId);
    return !exists ? null : (await others.forceFetch(saleId)).sale;
  }

  async function view(sale: Sale): Promise<LiveView> {
    const read = await live.forceFetch(sale.id);
    const now = timeAt(read);
    const product = viewSale(sale, read.numbers, now);
    soldOut.delete(sale.id);
    if (!read.isOutdated && (product.state === 'sold_out' || product.state === 'recovering')) soldOut.add(sale.id);
    return { product, now, askedAt: read.askedAt };
  }

  return {
    find,

    /** Redis's clock, ms since 1970; while Redis does not answer, as it was read last. */
    readTime,

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

    /** @param saleId whose window, pause or units may have changed; null: of any */
    invalidate(saleId: string | null): void {
      catalogue.invalidate(saleId);
      if (saleId === null) return;
      live.delete(saleId);
      soldOut.delete(saleId);
    },

    /** After an operator's change: the next read has it. */
    async forget(saleId: string): Promise<void> {
      await catalogue.reread(saleId);
      catalogues.clear();
      lists.clear();
      soldOut.delete(saleId);
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

/** When the first of them starts or ends after `now`; Infinity: none does. */
const nextTurn = (sales: readonly Sale[], now: number): number =>
  sales.reduce(
    (turn, { startsAt, endsAt }) => Math.min(turn, startsAt > now ? startsAt : endsAt > now ? endsAt : turn),
    Number.POSITIVE_INFINITY,
  );

/** Index of the first sale after that place. */
function firstAfter(sales: readonly Sale[], place: Pick<Sale, 'startsAt' | 'id'>): number {
  let [low, high] = [0, sales.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareSales(sales[middle] as Sale, place) > 0) high = middle;
    else low = middle + 1;
  }
  return low;
}

const cursorOf = ({ startsAt, id }: Pick<Sale, 'startsAt' | 'id'>): string => `${startsAt}~${id}`;

/** Of a text that matches CURSOR_PATTERN. */
export function readCursor(text: string): WantedPage['after'] {
  const [startsAt, id] = text.split('~') as [string, string];
  return { startsAt: Number(startsAt), id };
}

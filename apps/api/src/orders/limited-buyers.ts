/**
 * Buyers who have taken their last token. Every order may add one, so that each is his id and one small number, for some moments: what V8
 * keeps for longer than that grows old, and is looked for with pauses (docs/measurements/steps.md). They are in two halves that take turns;
 * the older one is dropped as a whole.
 */

export interface LastToken {
  /** ms of the process's clock: when the gate was asked, rounded down. */
  readonly askedAt: number;
  /** ms from then on until the next token. */
  readonly waitMs: number;
}

/** Both of them are in one small integer of V8, which has 31 bits without a sign. */
const WAIT_BITS = 19;
const WAIT_MAX = 2 ** WAIT_BITS - 1;
const ASKED_MAX = 2 ** (31 - WAIT_BITS) - 1;
/** ms that a half can take what was asked before its first one: answers come in any order. */
const ASKED_BEFORE_MS = 2_000;

/** By sale and buyer: a number for who has not asked since, else what is kept of him. */
interface Half<Kept> {
  readonly begunAt: number;
  /** How often somebody was put into it. */
  puts: number;
  readonly sales: Map<string, Map<string, number | Kept>>;
}

export type LimitedBuyers<Kept extends object> = ReturnType<typeof createLimitedBuyers<Kept>>;

/**
 * @param keptMs ms for which each is remembered, where they are not too many; twice as long at most while others come
 * @param max how many are remembered at most; of more, the youngest half at least
 */
export function createLimitedBuyers<Kept extends object>(keptMs: number, max: number) {
  const begin = (askedAt: number): Half<Kept> => ({ begunAt: Math.floor(askedAt), puts: 0, sales: new Map() });
  let newer = begin(Number.NEGATIVE_INFINITY);
  let older = newer;

  function put(saleId: string, buyerId: string, value: number | Kept): void {
    if (newer.puts >= max / 2) turn(newer.begunAt);
    newer.puts += 1;
    const buyers = newer.sales.get(saleId);
    if (buyers) buyers.set(buyerId, value);
    else newer.sales.set(saleId, new Map([[buyerId, value]]));
  }
  function turn(askedAt: number): void {
    older = newer;
    newer = begin(askedAt);
  }

  return {
    /** What is too long for it is not remembered: a wait of more than 524 s, an answer that was asked for 2 s before another's. */
    add(saleId: string, buyerId: string, { askedAt, waitMs }: LastToken): void {
      if (askedAt - newer.begunAt >= keptMs) turn(askedAt);
      const asked = Math.floor(askedAt - newer.begunAt) + ASKED_BEFORE_MS;
      if (asked >= 0 && asked <= ASKED_MAX && waitMs <= WAIT_MAX) put(saleId, buyerId, (asked << WAIT_BITS) | waitMs);
    },

    /** From now on `get` answers with this. */
    keep(saleId: string, buyerId: string, kept: Kept): void {
      put(saleId, buyerId, kept);
    },

    /** @returns what was kept or added last */
    get(saleId: string, buyerId: string): LastToken | Kept | undefined {
      return find(newer, saleId, buyerId) ?? find(older, saleId, buyerId);
    },

    delete(saleId: string, buyerId: string): void {
      newer.sales.get(saleId)?.delete(buyerId);
      older.sales.get(saleId)?.delete(buyerId);
    },
  };
}

function find<Kept>({ sales, begunAt }: Half<Kept>, saleId: string, buyerId: string): LastToken | Kept | undefined {
  const found = sales.get(saleId)?.get(buyerId);
  if (typeof found !== 'number') return found;
  return { askedAt: begunAt - ASKED_BEFORE_MS + (found >> WAIT_BITS), waitMs: found & WAIT_MAX };
}

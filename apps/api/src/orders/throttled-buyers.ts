/**
 * Buyers who have taken their last token. Every order may add one, so that each is his id and one small number, for some moments: half the
 * time of an object in an LRU. They are in two halves that take turns; the older one is dropped as a whole.
 */

export interface LastToken {
  /** ms of the process's clock: when the inventory was asked, rounded down. */
  readonly askedAt: number;
  /** ms from then on until the next token. */
  readonly waitMs: number;
}

/** Both of them are in one small integer of V8, which has 31 bits without a sign. A token takes a second at most (TOKEN_REFILL_RATE). */
const WAIT_BITS = 12;
const WAIT_MAX = 2 ** WAIT_BITS - 1;
/** ms that a half can take what was asked before its first one: answers come in any order. */
const ASKED_BEFORE_MS = 2_000;

/** By sale and buyer: a number for who has not asked since, else what is kept of him. */
interface Half<Kept> {
  readonly begunAt: number;
  /** Buyers in it. */
  size: number;
  readonly sales: Map<string, Map<string, number | Kept>>;
}

/**
 * @param keptMs ms for which each is remembered, where they are not too many; twice as long at most while others come. So much less than the
 *   524 s that fit into a half
 * @param max how many are remembered at most; of more, half as many at least: the youngest
 */
export function createThrottledBuyers<Kept extends object>(keptMs: number, max: number) {
  const begin = (askedAt: number): Half<Kept> => ({ begunAt: Math.floor(askedAt), size: 0, sales: new Map() });
  let newer = begin(Number.NEGATIVE_INFINITY);
  let older = newer;

  function put(saleId: string, buyerId: string, value: number | Kept): void {
    let buyers = newer.sales.get(saleId);
    if (!buyers) {
      buyers = new Map();
      newer.sales.set(saleId, buyers);
    }
    const before = buyers.size;
    buyers.set(buyerId, value);
    newer.size += buyers.size - before;
  }

  return {
    /** What does not fit is not remembered: a wait of more than 4 s, what was asked 2 s before what another one was told. */
    add(saleId: string, buyerId: string, { askedAt, waitMs }: LastToken): void {
      if (askedAt - newer.begunAt >= keptMs || newer.size >= max / 2) {
        older = newer;
        newer = begin(askedAt);
      }
      const asked = Math.floor(askedAt - newer.begunAt) + ASKED_BEFORE_MS;
      if (asked >= 0 && waitMs <= WAIT_MAX) put(saleId, buyerId, (asked << WAIT_BITS) | waitMs);
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
      for (const half of [newer, older]) if (half.sales.get(saleId)?.delete(buyerId)) half.size -= 1;
    },
  };
}

function find<Kept>({ sales, begunAt }: Half<Kept>, saleId: string, buyerId: string): LastToken | Kept | undefined {
  const found = sales.get(saleId)?.get(buyerId);
  if (typeof found !== 'number') return found;
  return { askedAt: begunAt - ASKED_BEFORE_MS + (found >> WAIT_BITS), waitMs: found & WAIT_MAX };
}

/**
 * Groups the orders that arrive in one turn of the event loop into one script call per sale.
 *   1. `reserve` collects orders until the turn ends, or until RESERVE_BATCH_MAX have arrived.
 *   2. One call of the global rate limiter takes permits for all of them.
 *   3. One call of lua/reserve.lua per sale decides. Each caller gets the decided batch and its
 *      index.
 *   4. Permits of orders that a buyer's limit refused are returned.
 * A quiet system has batches of one. There is no timer.
 */
import type { OrderRequest } from '@flash-sale/core/domain/order.ts';
import type { GlobalRateLimiter, Permits } from '@flash-sale/core/inventory/global-rate-limiter.ts';
import type { BuyerBucketSettings, Inventory } from '@flash-sale/core/inventory/inventory.ts';
import type { ReserveDecision } from '@flash-sale/core/inventory/outcomes.ts';

/**
 * Orders in one script call, which blocks Redis for about half a millisecond. Redis decides the
 * first batch while this process still reads the requests of the next.
 */
export const RESERVE_BATCH_MAX = 32;

/**
 * What the inventory decided for the orders of one sale: `decisions[i]` belongs to `requests[i]`.
 */
export interface DecidedBatch {
  readonly saleId: string;
  readonly requests: readonly OrderRequest[];
  readonly decisions: readonly ReserveDecision[];
  /** What the global rate limiter granted to the whole turn. */
  readonly permits: Permits;
  /** When the inventory was asked: ms of performance.now(). */
  readonly askedAt: number;
  /** Whether its accepted orders are logged and in the queue's next add (place-order.ts). */
  isRecorded: boolean;
}

/** The orders did not reach the inventory, so nothing was taken. */
export class NothingReservedError extends Error {
  constructor(cause: unknown) {
    super((cause as Error).message, { cause });
  }
}

interface Waiting {
  readonly saleId: string;
  readonly request: OrderRequest;
  readonly resolve: (decided: { batch: DecidedBatch; index: number }) => void;
  readonly reject: (error: unknown) => void;
}

export type ReserveBatcher = ReturnType<typeof createReserveBatcher>;

export function createReserveBatcher(deps: {
  inventory: Pick<Inventory, 'reserve'>;
  globalRateLimiter: Pick<GlobalRateLimiter, 'take' | 'giveBack'>;
  bucket: BuyerBucketSettings;
}) {
  const { inventory, globalRateLimiter, bucket } = deps;
  let arrived: Waiting[] = [];
  let turnEndScheduled = false;

  /** @returns permits that were not used */
  async function reserveBatch(waiting: readonly Waiting[], permits: Permits, granted: number): Promise<number> {
    const askedAt = performance.now();
    const { saleId } = waiting[0] as Waiting;
    const requests = waiting.map(({ request }) => request);
    try {
      const { decisions, permitsLeft } = await inventory.reserve(saleId, requests, granted, bucket);
      const batch = { saleId, requests, decisions, permits, askedAt, isRecorded: false };
      waiting.forEach(({ resolve }, index) => {
        resolve({ batch, index });
      });
      return Math.max(0, permitsLeft);
    } catch (error) {
      for (const { reject } of waiting) reject(error);
      return 0;
    }
  }

  async function reserveTurn(turn: readonly Waiting[]): Promise<void> {
    let permits: Permits;
    try {
      permits = await globalRateLimiter.take(turn.length);
    } catch (error) {
      for (const { reject } of turn) reject(new NothingReservedError(error));
      return;
    }
    const unlimited = permits.granted < 0;
    let free = permits.granted;
    const batches = Map.groupBy(turn, ({ saleId }) => saleId).values();
    const unused = await Promise.all(
      Array.from(batches, (batch) => {
        const granted = unlimited ? -1 : Math.min(free, batch.length);
        free -= granted;
        return reserveBatch(batch, permits, granted);
      }),
    );
    const left = unused.reduce((sum, count) => sum + count, 0);
    // Not awaited and not retried: permits that are not returned only lower the limit for a second.
    if (left > 0) globalRateLimiter.giveBack(permits, left).catch(() => {});
  }

  function reserveArrived(): void {
    const turn = arrived;
    arrived = [];
    if (turn.length > 0) void reserveTurn(turn);
  }

  function endTurn(): void {
    turnEndScheduled = false;
    reserveArrived();
  }

  return {
    /**
     * @returns the decided batch, and this order's index in it
     * @throws NothingReservedError, or the error of Redis: then the order may hold units
     */
    reserve(saleId: string, request: OrderRequest): Promise<{ batch: DecidedBatch; index: number }> {
      return new Promise((resolve, reject) => {
        arrived.push({ saleId, request, resolve, reject });
        if (arrived.length === RESERVE_BATCH_MAX) reserveArrived();
        if (turnEndScheduled) return;
        turnEndScheduled = true;
        setImmediate(endTurn);
      });
    },
  };
}

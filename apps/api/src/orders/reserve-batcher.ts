/**
 * Brings the orders of one turn of the event loop to the inventory together.
 *   1. `admit` collects what arrives in the same turn, up to RESERVE_BATCH_MAX.
 *   2. At the end of the turn, or once they are so many, the global rate limiter is asked once for all of them.
 *   3. One call of the reserve script for each sale decides.
 *   4. `whenDecided` is told of the batch (those that got units are enqueued), then each caller gets his own outcome.
 *   5. Permits that a buyer's own limit left unused go back.
 * A quiet system has batches of one. Nothing waits for a timer.
 */
import { RESERVE_BATCH_MAX } from '@flash-sale/core/config/limits.ts';
import type { GlobalRateLimiter, Permits } from '@flash-sale/core/inventory/global-rate-limiter.ts';
import type { BuyerBucketSettings, Inventory, OrderRequest } from '@flash-sale/core/inventory/inventory.ts';
import type { ReserveDecision } from '@flash-sale/core/inventory/outcomes.ts';
import type { TimeBatch } from '@flash-sale/core/runtime/metrics.ts';
import { SpanGroup, type TraceSpan, within } from '@flash-sale/core/runtime/tracing/tracing.ts';

/** A decision, and what the global rate limiter said as it was made; null where it was told from memory. */
export interface Admission extends ReserveDecision {
  readonly system: Permits | null;
}

/** What the batcher is asked. */
export interface ReserveRequest extends OrderRequest {
  /** Of a sampled one. */
  readonly trace?: TraceSpan | null;
}

/** What the inventory said of a batch of one sale: decisions stand in the order of their requests. */
export interface DecidedBatch {
  readonly saleId: string;
  readonly requests: readonly ReserveRequest[];
  readonly decisions: readonly ReserveDecision[];
  readonly system: Permits;
  /** When the inventory was asked, ms of performance.now(). */
  readonly askedAt: number;
}

/** The orders never reached the inventory, so that nothing can have been taken. */
export class NothingReservedError extends Error {
  constructor(cause: unknown) {
    super((cause as Error).message, { cause });
  }
}

interface Waiting {
  readonly saleId: string;
  readonly request: ReserveRequest;
  /** From its arrival until the inventory is asked; of a sampled one. */
  readonly wait: TraceSpan | null;
  readonly resolve: (admission: Admission) => void;
  readonly reject: (error: unknown) => void;
}

export type ReserveBatcher = ReturnType<typeof createReserveBatcher>;

/** @param parts.whenDecided must not throw: units are taken already */
export function createReserveBatcher(parts: {
  inventory: Pick<Inventory, 'reserve'>;
  globalRateLimiter: Pick<GlobalRateLimiter, 'take' | 'giveBack'>;
  bucket: BuyerBucketSettings;
  whenDecided: (batch: DecidedBatch) => void;
  time: TimeBatch;
}) {
  const { inventory, globalRateLimiter, bucket, whenDecided, time } = parts;
  let arrived: Waiting[] = [];

  async function decideBatch(batch: readonly Waiting[], system: Permits, share: number): Promise<number> {
    const askedAt = performance.now();
    try {
      const { saleId } = batch[0] as Waiting;
      const requests = batch.map((waiting) => waiting.request);
      const sampled = endWaits(batch);
      const { decisions, permitsLeft } = await within(sampled, reservePart(batch.length), () =>
        inventory.reserve(saleId, requests, share, bucket),
      ).finally(() => time('reserve', performance.now() - askedAt, batch.length));
      whenDecided({ saleId, requests, decisions, system, askedAt });
      batch.forEach((waiting, i) => {
        const { outcome, tokensLeft, tokenInMs } = decisions[i] as ReserveDecision;
        waiting.resolve({ outcome, tokensLeft, tokenInMs, system });
      });
      return permitsLeft;
    } catch (error) {
      for (const waiting of batch) waiting.reject(error);
      return 0;
    }
  }

  async function decideTurn(turn: readonly Waiting[]): Promise<void> {
    let permits: Permits;
    try {
      permits = await globalRateLimiter.take(turn.length);
    } catch (error) {
      for (const waiting of turn) {
        waiting.wait?.fail((error as Error).message);
        waiting.wait?.end();
        waiting.reject(new NothingReservedError(error));
      }
      return;
    }
    let free = permits.granted;
    const decided = Array.from(bySale(turn), (batch) => {
      const share = free < 0 ? -1 : Math.min(free, batch.length);
      free -= Math.max(0, share);
      return decideBatch(batch, permits, share);
    });
    const unused = (await Promise.all(decided)).reduce((sum, left) => sum + Math.max(0, left), 0);
    // Not waited for, and not tried again: a lost return costs the crowd some permits of this one second.
    if (unused > 0) globalRateLimiter.giveBack(permits, unused).catch(() => {});
  }

  let turnEnds = false;

  function ask(): void {
    const turn = arrived;
    arrived = [];
    if (turn.length > 0) void decideTurn(turn);
  }
  function endTurn(): void {
    turnEnds = false;
    ask();
  }

  return {
    /** @throws NothingReservedError, or whatever Redis threw; then it is unknown whether the order holds units */
    admit(saleId: string, request: ReserveRequest): Promise<Admission> {
      return new Promise((resolve, reject) => {
        const wait = request.trace?.begin('internal', 'wait for the batch') ?? null;
        arrived.push({ saleId, request, wait, resolve, reject });
        // Redis decides while this process still reads what else has arrived.
        if (arrived.length === RESERVE_BATCH_MAX) ask();
        if (turnEnds) return;
        turnEnds = true;
        setImmediate(endTurn);
      });
    },
  };
}

function reservePart(size: number) {
  return {
    kind: 'client',
    name: 'reserve',
    fields: { 'db.system.name': 'redis', 'flash_sale.batch_size': size },
  } as const;
}

/** @returns those of a batch that are sampled; null where none is */
function endWaits(batch: readonly Waiting[]): SpanGroup | null {
  let sampled: Map<string, TraceSpan> | null = null;
  for (const { wait, request } of batch) {
    if (wait === null || !request.trace) continue;
    wait.end();
    sampled ??= new Map();
    sampled.set(request.orderId, request.trace);
  }
  return sampled && new SpanGroup(sampled);
}

/** By sale, each in the order of arrival. */
function bySale(turn: readonly Waiting[]): Iterable<Waiting[]> {
  const batches = new Map<string, Waiting[]>();
  for (const waiting of turn) {
    const batch = batches.get(waiting.saleId);
    if (batch) batch.push(waiting);
    else batches.set(waiting.saleId, [waiting]);
  }
  return batches.values();
}

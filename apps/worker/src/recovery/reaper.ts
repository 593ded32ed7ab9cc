/**
 * Finds orphaned reservations, which no job handles any more, and finishes their orders. For each
 * sale:
 *   1. Claim reservations older than ORPHAN_AGE_MS, one page at a time; other workers skip claimed
 *      ones. A pass over all pages may take several runs. At its end it stores when the next pass
 *      can find an orphan (lua/claim-orphans.lua).
 *   2. If the ledger has the order, apply its outcome to the inventory.
 *   3. If a job contains the order, skip it.
 *   4. Otherwise redeliver it under the same order id; from the second time on in a job of its own,
 *      so that one bad order cannot fail others.
 *   5. After too many redeliveries, reject it.
 */

import type { OrderBatch } from '@flash-sale/core/domain/order.ts';
import type { Inventory } from '@flash-sale/core/inventory/inventory.ts';
import type { Orphan, OrphansFound, PassPosition } from '@flash-sale/core/inventory/outcomes.ts';
import type { OrderStore } from '@flash-sale/core/ledger/order-store.ts';
import type { SaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import type { OrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import { JOB_ORDERS_MAX } from '@flash-sale/core/queue/order-queue.ts';
import { unavailableDependency } from '@flash-sale/core/runtime/errors.ts';
import type { Logger } from 'pino';
import { applyOutcomes } from '../orders/apply-outcomes.ts';
import { forEach } from './loop.ts';

/**
 * Orphans of one sale per run, so that the other sales are not delayed. Enough to redeliver a large
 * sale that lost all its jobs within seconds.
 */
const REAPER_RUN_MAX = 20_000;

/**
 * Longest pause between two passes, even if the last pass found that nothing can be orphaned
 * earlier: a rebuilt inventory may have older reservations.
 */
const REAPER_PAUSE_MS = 5_000;

/** Redeliveries after which an order is rejected: it probably crashed each worker that took it. */
export const REDELIVERIES_MAX = 8;

/** For this many ms after its end every run visits a sale; later only runs over all sales do. */
const REAPED_AFTER_END_MS = 3_600_000;

export interface ReaperDependencies {
  readonly inventory: Pick<
    Inventory,
    'withReservations' | 'claimOrphans' | 'commit' | 'release' | 'pointKey' | 'countRedeliveries'
  >;
  readonly orders: Pick<OrderStore, 'outcomesOf' | 'findByKeys'>;
  readonly sales: Pick<SaleStore, 'versions'>;
  readonly queue: Pick<OrderQueue, 'add' | 'orderIdsInProgress'>;
  readonly reject: (batch: OrderBatch) => Promise<unknown>;
  readonly orphanAgeMs: number;
  readonly log: Logger;
  readonly pauseMs?: number;
  readonly runMax?: number;
}

export function createReaper(dependencies: ReaperDependencies) {
  const { inventory, orders, sales, queue, reject, orphanAgeMs, log } = dependencies;
  const { pauseMs = REAPER_PAUSE_MS, runMax = REAPER_RUN_MAX } = dependencies;
  /** Unfinished passes, by sale id. */
  const passes = new Map<string, PassPosition>();
  // Reading the whole queue is expensive: at most once per run.
  let queuedThisRun: Promise<Set<string> | null> | null = null;

  async function reapSale(saleId: string): Promise<void> {
    let failure: unknown;
    for (let claimed = 0; claimed < runMax; ) {
      const found = await inventory.claimOrphans(saleId, { ageMs: orphanAgeMs, pauseMs }, passes.get(saleId) ?? null);
      // Store it before anything can fail: the pass continues, and unhandled claims expire.
      if (found.next) passes.set(saleId, found.next);
      else passes.delete(saleId);
      try {
        await handle(saleId, found);
      } catch (error) {
        // One bad order must not keep those behind it waiting.
        if (unavailableDependency(error) !== null) throw error;
        failure ??= error;
      }
      if (!found.next) break;
      claimed += found.orphans.length;
    }
    if (failure !== undefined) throw failure;
  }

  async function handle(saleId: string, { orphans, unreadable, epoch }: OrphansFound): Promise<void> {
    for (const id of unreadable)
      log.error({ order_id: id, sale_id: saleId }, 'a reservation cannot be decoded: it was changed by hand');
    if (orphans.length === 0) return;

    const outcomes = await orders.outcomesOf(orphans.map((orphan) => orphan.id));
    await applyOutcomes({ inventory, orders }, { saleId, epoch, orders: orphans }, outcomes);

    const decided = new Set(outcomes.map((outcome) => outcome.id));
    const undecided = orphans.filter((orphan) => !decided.has(orphan.id));
    if (undecided.length === 0) return;
    queuedThisRun ??= queue.orderIdsInProgress();
    const queued = await queuedThisRun;
    // The queue is too long to read, and most likely contains these orders.
    if (queued === null) return;
    const orphaned = undecided.filter((orphan) => !queued.has(orphan.id));
    await redeliver(
      { saleId, epoch },
      orphaned.filter((orphan) => orphan.redeliveries < REDELIVERIES_MAX),
    );
    const exhausted = orphaned.filter((orphan) => orphan.redeliveries >= REDELIVERIES_MAX);
    await forEach(exhausted, (order) => reject({ saleId, epoch, orders: [order] }));
  }

  async function redeliver(sale: { saleId: string; epoch: number }, orphans: readonly Orphan[]): Promise<void> {
    if (orphans.length === 0) return;
    log.warn(
      { sale_id: sale.saleId, orders: orphans.length, first: orphans[0]?.id },
      'orphaned orders are redelivered',
    );
    await inventory.countRedeliveries(
      sale.saleId,
      orphans.map((orphan) => orphan.id),
    );
    const first = orphans.filter((orphan) => orphan.redeliveries === 0);
    const repeated = orphans.filter((orphan) => orphan.redeliveries > 0);
    if (first.length > 0) await queue.add([{ ...sale, orders: first }], JOB_ORDERS_MAX);
    if (repeated.length > 0) await queue.add([{ ...sale, orders: repeated }], 1);
  }

  return {
    /**
     * One run over the sales.
     *
     * @param all also sales that ended long ago
     * @throws the first error, after all of them were visited
     */
    async runOnce(all = true): Promise<void> {
      queuedThisRun = null;
      const listed = await sales.versions(all ? {} : { endedWithinMs: REAPED_AFTER_END_MS });
      const reserved = await inventory.withReservations([...listed.keys()]);
      // A pass that has begun continues, even if its sale has ended meanwhile.
      await forEach(new Set([...reserved, ...passes.keys()]), reapSale);
    },
  };
}

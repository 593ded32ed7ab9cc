/**
 * Finds orphaned reservations, which no job handles any more, and brings their orders to an end.
 * For each sale:
 *   1. Claim reservations older than ORPHAN_AGE_MS, some at a time; no other worker gets them
 *      meanwhile. A pass over all of them may take several turns, and says when the next pass can
 *      find something (lua/claim-orphans.lua).
 *   2. The ledger has the order:  apply its outcome to the inventory.
 *   3. A job carries the order:   leave it.
 *   4. Otherwise redeliver it under the same order id; after the first time in a job of its own, so
 *      that one bad order cannot take others down.
 *   5. Redelivered too often:     reject it.
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
 * Orphans of one sale per turn: a large sale that lost all its jobs is redelivered within seconds.
 */
const REAPER_TURN_MAX = 20_000;

/**
 * Longest pause between two scans of the reaper, even if the last scan says that none can be an
 * orphan before: a rebuilt inventory may have older reservations.
 */
const REAPER_PAUSE_MS = 5_000;

/** Redeliveries after which an order is rejected: it crashes every worker that takes it. */
export const REDELIVERIES_MAX = 8;

/** Milliseconds after its end that every turn visits a sale; later, turns over all sales do. */
const REAPED_AFTER_END_MS = 3_600_000;

export interface ReaperDependencies {
  readonly inventory: Pick<Inventory, 'claimOrphans' | 'commit' | 'release' | 'pointKey' | 'countRedeliveries'>;
  readonly orders: Pick<OrderStore, 'outcomesOf' | 'findByKeys'>;
  readonly sales: Pick<SaleStore, 'list'>;
  readonly queue: Pick<OrderQueue, 'add' | 'orderIdsInProgress'>;
  readonly reject: (batch: OrderBatch) => Promise<void>;
  readonly orphanAgeMs: number;
  readonly log: Logger;
  readonly pauseMs?: number;
  readonly turnMax?: number;
}

export function createReaper(dependencies: ReaperDependencies) {
  const { inventory, orders, sales, queue, reject, orphanAgeMs, log } = dependencies;
  const { pauseMs = REAPER_PAUSE_MS, turnMax = REAPER_TURN_MAX } = dependencies;
  /** Passes that are not over, by sale. */
  const passes = new Map<string, PassPosition>();
  // Reading the whole queue is expensive: at most once a turn.
  let queuedThisTurn: Promise<Set<string> | null> | null = null;

  async function reapSale(saleId: string): Promise<void> {
    let failure: unknown;
    for (let claimed = 0; claimed < turnMax; ) {
      const found = await inventory.claimOrphans(saleId, { ageMs: orphanAgeMs, pauseMs }, passes.get(saleId) ?? null);
      // Before anything can fail: the pass goes on, and unhandled claims expire.
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
      log.error({ order_id: id, sale_id: saleId }, 'a reservation cannot be read: somebody wrote to it');
    if (orphans.length === 0) return;

    const outcomes = await orders.outcomesOf(orphans.map((orphan) => orphan.id));
    await applyOutcomes({ inventory, orders }, { saleId, epoch, orders: orphans }, outcomes);

    const decided = new Set(outcomes.map((outcome) => outcome.id));
    const undecided = orphans.filter((orphan) => !decided.has(orphan.id));
    if (undecided.length === 0) return;
    queuedThisTurn ??= queue.orderIdsInProgress();
    const queued = await queuedThisTurn;
    // A queue that is too long to read is being worked off, most likely with these orders in it.
    if (queued === null) return;
    const orphaned = undecided.filter((orphan) => !queued.has(orphan.id));
    await redeliver(
      { saleId, epoch },
      orphaned.filter((orphan) => orphan.redeliveries < REDELIVERIES_MAX),
    );
    const exhausted = orphaned.filter((orphan) => orphan.redeliveries >= REDELIVERIES_MAX);
    await forEach(exhausted, (order) => reject({ saleId, epoch, orders: [order] }));
  }

  async function redeliver(of: { saleId: string; epoch: number }, orphans: readonly Orphan[]): Promise<void> {
    if (orphans.length === 0) return;
    log.warn({ sale_id: of.saleId, orders: orphans.length, first: orphans[0]?.id }, 'orphaned orders are redelivered');
    await inventory.countRedeliveries(
      of.saleId,
      orphans.map((orphan) => orphan.id),
    );
    const first = orphans.filter((orphan) => orphan.redeliveries === 0);
    const repeated = orphans.filter((orphan) => orphan.redeliveries > 0);
    if (first.length > 0) await queue.add([{ ...of, orders: first }], JOB_ORDERS_MAX);
    if (repeated.length > 0) await queue.add([{ ...of, orders: repeated }], 1);
  }

  return {
    /**
     * One turn over the sales.
     *
     * @param all also sales that ended long ago
     * @throws the first error, after all of them were visited
     */
    async runOnce(all = true): Promise<void> {
      queuedThisTurn = null;
      const listed = await sales.list(all ? {} : { endedWithinMs: REAPED_AFTER_END_MS });
      // A pass that has begun goes on, even if its sale ended meanwhile.
      await forEach(new Set([...listed.map((sale) => sale.id), ...passes.keys()]), reapSale);
    },
  };
}

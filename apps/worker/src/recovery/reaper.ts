/**
 * Finds reservations that nobody takes care of and brings them to an end.
 *   1. Look through the reservations of a sale, some at a time, and claim what stayed uncommitted for ORPHAN_AGE_MS; no other worker gets it
 *      meanwhile. Such a pass goes on from turn to turn, and tells when the next one can find something (lua/claim-orphans.lua).
 *   2. The ledger has it: the inventory follows.
 *   3. A job carries it: leave it.
 *   4. Otherwise redeliver it, with the same order id; from the second time on in a job of its own, so that one bad
 *      order cannot take others down.
 *   5. Handed over too often: give it up.
 */

import { JOB_ORDERS_MAX, REAPER_PAUSE_MS, REAPER_TURN_MAX, REDELIVERIES_MAX } from '@flash-sale/core/config/limits.ts';
import type { OrderBatch } from '@flash-sale/core/domain/order.ts';
import type { Inventory } from '@flash-sale/core/inventory/inventory.ts';
import type { Orphan, OrphansFound, PassPosition } from '@flash-sale/core/inventory/outcomes.ts';
import type { OrderStore } from '@flash-sale/core/ledger/order-store.ts';
import type { SaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import type { OrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import { unavailableDependency } from '@flash-sale/core/runtime/errors.ts';
import type { Logger } from 'pino';
import { applyOutcomes } from '../orders/apply-outcomes.ts';

/** A sale that ended longer ago is looked at only now and then. */
const RECENT_MS = 3_600_000;
/** Every so many turns all sales are looked at, however old: nothing may orphan for ever. */
const FULL_TURN_EVERY = 60;

export function createReaper(parts: {
  inventory: Inventory;
  orders: OrderStore;
  sales: Pick<SaleStore, 'listIds' | 'listCurrent'>;
  queue: Pick<OrderQueue, 'add' | 'orderIdsUnderWay'>;
  reject: (batch: OrderBatch) => Promise<void>;
  orphanAgeMs: number;
  log: Logger;
  pauseMs?: number;
  turnMax?: number;
}) {
  const { inventory, orders, sales, queue, reject, orphanAgeMs, log } = parts;
  const { pauseMs = REAPER_PAUSE_MS, turnMax = REAPER_TURN_MAX } = parts;
  let turns = 0;
  // After an outage of any length orphans may be older than RECENT_MS.
  let lookAtAll = true;
  // Looking through the queue is dear: once a turn is enough.
  let underWayThisTurn: Promise<Set<string> | null> | null = null;

  /** How those go on that are not over. */
  const passes = new Map<string, PassPosition>();

  async function reapSale(saleId: string): Promise<void> {
    // An order that cannot be brought to its end must not keep those behind it from theirs.
    const faults: unknown[] = [];
    for (let claimed = 0; claimed < turnMax; ) {
      const found = await inventory.claimOrphans(saleId, { ageMs: orphanAgeMs, pauseMs }, passes.get(saleId) ?? null);
      // Before anything can fail: what was claimed comes again after as long, and the pass goes on.
      if (found.next) passes.set(saleId, found.next);
      else passes.delete(saleId);
      await takeCare(saleId, found).catch((fault: unknown) => {
        if (unavailableDependency(fault) !== null) throw fault;
        faults.push(fault);
      });
      if (!found.next) break;
      claimed += found.orphans.length;
    }
    if (faults.length > 0) throw faults[0];
  }

  async function takeCare(saleId: string, { orphans, unreadable, epoch }: OrphansFound): Promise<void> {
    for (const id of unreadable)
      log.error({ order_id: id, sale_id: saleId }, 'a reservation cannot be read: somebody wrote to it');
    if (orphans.length === 0) return;

    const outcomes = await orders.outcomesOf(orphans.map((orphan) => orphan.id));
    await applyOutcomes({ inventory, orders }, { saleId, epoch, orders: orphans }, outcomes);

    const ended = new Set(outcomes.map((outcome) => outcome.id));
    const open = orphans.filter((orphan) => !ended.has(orphan.id));
    if (open.length === 0) return;
    underWayThisTurn ??= queue.orderIdsUnderWay();
    const underWay = await underWayThisTurn;
    // A queue too long to look through is being worked off: these are most likely in it, and will be looked at again.
    if (underWay === null) return;
    await redeliver(
      { saleId, epoch },
      open.filter((orphan) => !underWay.has(orphan.id)),
    );
  }

  async function redeliver(of: { saleId: string; epoch: number }, orphans: readonly Orphan[]): Promise<void> {
    const again = orphans.filter((orphan) => orphan.redeliveries < REDELIVERIES_MAX);
    if (again.length > 0) await enqueue(of, again);
    const worn = orphans.filter((orphan) => orphan.redeliveries >= REDELIVERIES_MAX);
    // Each for itself: one that cannot even be written as rejected must not keep the others from their end.
    const faults: unknown[] = [];
    for (const order of worn) await reject({ ...of, orders: [order] }).catch((error: unknown) => faults.push(error));
    if (faults.length > 0) throw faults[0];
  }

  async function enqueue(of: { saleId: string; epoch: number }, again: readonly Orphan[]): Promise<void> {
    const { saleId } = of;
    log.warn({ sale_id: saleId, orders: again.length, first: again[0]?.id }, 'orphaned orders are redelivered');
    await inventory.countRedeliveries(
      saleId,
      again.map((orphan) => orphan.id),
    );
    const first = again.filter((orphan) => orphan.redeliveries === 0);
    const repeated = again.filter((orphan) => orphan.redeliveries > 0);
    if (first.length > 0) await queue.add([{ ...of, orders: first }], JOB_ORDERS_MAX);
    if (repeated.length > 0) await queue.add([{ ...of, orders: repeated }], 1);
  }

  return {
    /** One turn over the sales. @throws when ledger or inventory cannot be reached */
    async runOnce(): Promise<void> {
      const all = lookAtAll || turns % FULL_TURN_EVERY === 0;
      turns += 1;
      lookAtAll = true;
      underWayThisTurn = null;
      const listed = all ? await sales.listIds() : (await sales.listCurrent(RECENT_MS)).map((sale) => sale.id);
      // A pass that has begun goes on, however old the sale.
      const ids = new Set([...listed, ...passes.keys()]);
      // One sale that cannot be reaped must not keep the others from it.
      const faults: unknown[] = [];
      for (const id of ids) await reapSale(id).catch((error: unknown) => faults.push(error));
      lookAtAll = faults.some((fault) => unavailableDependency(fault) !== null);
      if (faults.length > 0) throw faults[0];
    },
  };
}

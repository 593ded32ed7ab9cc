/**
 * Finds reservations that nobody takes care of and brings them to an end.
 *   1. Look through the reservations of a sale, some at a time, and claim what stayed unsettled for STRAND_AGE_MS; no other worker gets it
 *      meanwhile. Such a pass goes on from turn to turn, and tells when the next one can find something (lua/claim-strands.lua).
 *   2. The ledger has it: the gate follows.
 *   3. A job carries it: leave it.
 *   4. Otherwise hand it over again, with the same order id; from the second time on in a job of its own, so that one bad
 *      order cannot take others down.
 *   5. Handed over too often: give it up.
 */
import { awayPart } from '@flash-sale/core/faults.ts';
import { HAND_OVERS_MAX, JOB_ORDERS_MAX, SWEEP_PAUSE_MS, SWEEP_TURN_MAX } from '@flash-sale/core/limits.ts';
import type { OrderBatch } from '@flash-sale/core/orders/order.ts';
import type { OrderStore } from '@flash-sale/core/orders/order-store.ts';
import type { OrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import type { SaleStore } from '@flash-sale/core/sales/sale-store.ts';
import type { PassPosition, Strand, StrandsFound } from '@flash-sale/core/stock/gate-words.ts';
import type { StockGate } from '@flash-sale/core/stock/stock-gate.ts';
import type { Logger } from 'pino';
import { followLedger } from '../orders/follow-ledger.ts';

/** A sale that ended longer ago is looked at only now and then. */
const RECENT_MS = 3_600_000;
/** Every so many turns all sales are looked at, however old: nothing may strand for ever. */
const FULL_TURN_EVERY = 60;

export function createSweep(parts: {
  gate: StockGate;
  orders: OrderStore;
  sales: Pick<SaleStore, 'listIds' | 'listCurrent'>;
  queue: Pick<OrderQueue, 'add' | 'orderIdsUnderWay'>;
  giveUp: (batch: OrderBatch) => Promise<void>;
  strandAgeMs: number;
  log: Logger;
  pauseMs?: number;
  turnMax?: number;
}) {
  const { gate, orders, sales, queue, giveUp, strandAgeMs, log } = parts;
  const { pauseMs = SWEEP_PAUSE_MS, turnMax = SWEEP_TURN_MAX } = parts;
  let turns = 0;
  // After an outage of any length strands may be older than RECENT_MS.
  let lookAtAll = true;
  // Looking through the queue is dear: once a turn is enough.
  let underWayThisTurn: Promise<Set<string> | null> | null = null;

  /** How those go on that are not over. */
  const passes = new Map<string, PassPosition>();

  async function sweepSale(saleId: string): Promise<void> {
    // An order that cannot be brought to its end must not keep those behind it from theirs.
    const faults: unknown[] = [];
    for (let claimed = 0; claimed < turnMax; ) {
      const found = await gate.claimStrands(saleId, { ageMs: strandAgeMs, pauseMs }, passes.get(saleId) ?? null);
      // Before anything can fail: what was claimed comes again after as long, and the pass goes on.
      if (found.next) passes.set(saleId, found.next);
      else passes.delete(saleId);
      await takeCare(saleId, found).catch((fault: unknown) => {
        if (awayPart(fault) !== null) throw fault;
        faults.push(fault);
      });
      if (!found.next) break;
      claimed += found.strands.length;
    }
    if (faults.length > 0) throw faults[0];
  }

  async function takeCare(saleId: string, { strands, unreadable, epoch }: StrandsFound): Promise<void> {
    for (const id of unreadable)
      log.error({ order_id: id, sale_id: saleId }, 'a reservation cannot be read: somebody wrote to it');
    if (strands.length === 0) return;

    const verdicts = await orders.verdictsOf(strands.map((strand) => strand.id));
    await followLedger({ gate, orders }, { saleId, epoch, orders: strands }, verdicts);

    const ended = new Set(verdicts.map((verdict) => verdict.id));
    const open = strands.filter((strand) => !ended.has(strand.id));
    if (open.length === 0) return;
    underWayThisTurn ??= queue.orderIdsUnderWay();
    const underWay = await underWayThisTurn;
    // A queue too long to look through is being worked off: these are most likely in it, and will be looked at again.
    if (underWay === null) return;
    await handOverAgain(
      { saleId, epoch },
      open.filter((strand) => !underWay.has(strand.id)),
    );
  }

  async function handOverAgain(of: { saleId: string; epoch: number }, strands: readonly Strand[]): Promise<void> {
    const again = strands.filter((strand) => strand.handOvers < HAND_OVERS_MAX);
    if (again.length > 0) await handOver(of, again);
    const worn = strands.filter((strand) => strand.handOvers >= HAND_OVERS_MAX);
    // Each for itself: one that cannot even be written as rejected must not keep the others from their end.
    const faults: unknown[] = [];
    for (const order of worn) await giveUp({ ...of, orders: [order] }).catch((error: unknown) => faults.push(error));
    if (faults.length > 0) throw faults[0];
  }

  async function handOver(of: { saleId: string; epoch: number }, again: readonly Strand[]): Promise<void> {
    const { saleId } = of;
    log.warn({ sale_id: saleId, orders: again.length, first: again[0]?.id }, 'stranded orders are handed over again');
    await gate.countHandOvers(
      saleId,
      again.map((strand) => strand.id),
    );
    const first = again.filter((strand) => strand.handOvers === 0);
    const repeated = again.filter((strand) => strand.handOvers > 0);
    if (first.length > 0) await queue.add([{ ...of, orders: first }], JOB_ORDERS_MAX);
    if (repeated.length > 0) await queue.add([{ ...of, orders: repeated }], 1);
  }

  return {
    /** One turn over the sales. @throws when ledger or gate cannot be reached */
    async runOnce(): Promise<void> {
      const all = lookAtAll || turns % FULL_TURN_EVERY === 0;
      turns += 1;
      lookAtAll = true;
      underWayThisTurn = null;
      const listed = all ? await sales.listIds() : (await sales.listCurrent(RECENT_MS)).map((sale) => sale.id);
      // A pass that has begun goes on, however old the sale.
      const ids = new Set([...listed, ...passes.keys()]);
      // One sale that cannot be swept must not keep the others from it.
      const faults: unknown[] = [];
      for (const id of ids) await sweepSale(id).catch((error: unknown) => faults.push(error));
      lookAtAll = faults.some((fault) => awayPart(fault) !== null);
      if (faults.length > 0) throw faults[0];
    },
  };
}

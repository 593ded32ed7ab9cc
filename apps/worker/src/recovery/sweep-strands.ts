/**
 * Finds reservations that nobody takes care of and brings them to an end.
 *   1. Look through the reservations of a sale, some at a time, and claim what stayed unsettled for STRAND_AGE_MS; no other worker gets it
 *      meanwhile. Each such pass tells when the next one can find something.
 *   2. The ledger has it: the gate follows.
 *   3. A job carries it: leave it.
 *   4. Otherwise hand it over again, with the same order id; from the second time on in a job of its own, so that one bad
 *      order cannot take others down.
 *   5. Handed over too often: give it up.
 */
import { awayPart } from '@flash-sale/core/faults.ts';
import { HAND_OVERS_MAX, JOB_ORDERS_MAX, SWEEP_PASS_MS, SWEEP_TURN_MAX } from '@flash-sale/core/limits.ts';
import type { OrderBatch } from '@flash-sale/core/orders/order.ts';
import type { OrderStore } from '@flash-sale/core/orders/order-store.ts';
import type { OrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import type { SaleStore } from '@flash-sale/core/sales/sale-store.ts';
import type { Strand, StrandsFound } from '@flash-sale/core/stock/gate-words.ts';
import type { StockGate } from '@flash-sale/core/stock/stock-gate.ts';
import type { Logger } from 'pino';
import { followLedger } from '../orders/confirm-orders.ts';

/** A sale that ended longer ago is looked at only now and then. */
const RECENT_MS = 3_600_000;
/** Every so many turns all sales are looked at, however old: nothing may strand for ever. */
const FULL_TURN_EVERY = 60;

/** A pass over the reservations of a sale, which may take some turns. */
interface Pass {
  /** Where it goes on. */
  cursor: string;
  /** The earliest ms, by Redis' clock, since which a reservation may wait that was not claimed in it. */
  oldest: number;
}

export function createSweep(parts: {
  gate: StockGate;
  orders: OrderStore;
  sales: Pick<SaleStore, 'listIds' | 'listCurrent'>;
  queue: Pick<OrderQueue, 'add' | 'orderIdsUnderWay'>;
  giveUp: (batch: OrderBatch) => Promise<void>;
  strandAgeMs: number;
  log: Logger;
}) {
  const { gate, orders, sales, queue, giveUp, strandAgeMs, log } = parts;
  let turns = 0;
  // After an outage of any length strands may be older than RECENT_MS.
  let lookAtAll = true;
  // Looking through the queue is dear: once a turn is enough.
  let underWayThisTurn: Promise<Set<string> | null> | null = null;

  /** Those that are not at their end. */
  const passes = new Map<string, Pass>();
  /** ms of performance.now() from which on a new pass may find something. */
  const nextPassAt = new Map<string, number>();

  async function sweepSale(saleId: string): Promise<void> {
    if (performance.now() < (nextPassAt.get(saleId) ?? 0)) return;
    let pass = passes.get(saleId) ?? null;
    // Put back as it stands at the end of a turn: after a fault it begins anew.
    passes.delete(saleId);
    nextPassAt.delete(saleId);
    for (let claimed = 0; claimed < SWEEP_TURN_MAX; ) {
      const found = await gate.claimStrands(saleId, strandAgeMs, pass?.cursor ?? '0');
      if (found.epoch === 0) return;
      // What is reserved while it lasts, it may not see.
      pass ??= { cursor: '0', oldest: found.now };
      pass.cursor = found.cursor;
      pass.oldest = Math.min(pass.oldest, found.oldestSince ?? found.now);
      const goOn = await takeCare(saleId, found);
      if (found.cursor === '0') {
        nextPassAt.set(saleId, performance.now() + Math.min(pass.oldest + strandAgeMs - found.now, SWEEP_PASS_MS));
        return;
      }
      if (!goOn) break;
      claimed += found.strands.length;
    }
    if (pass) passes.set(saleId, pass);
  }

  /** @returns false where the queue is too long to be looked through */
  async function takeCare(saleId: string, { strands, unreadable, epoch }: StrandsFound): Promise<boolean> {
    for (const id of unreadable)
      log.error({ order_id: id, sale_id: saleId }, 'a reservation cannot be read: somebody wrote to it');
    if (strands.length === 0) return true;

    const verdicts = await orders.verdictsOf(strands.map((strand) => strand.id));
    await followLedger(gate, { saleId, epoch }, verdicts);

    const ended = new Set(verdicts.map((verdict) => verdict.id));
    const open = strands.filter((strand) => !ended.has(strand.id));
    if (open.length === 0) return true;
    underWayThisTurn ??= queue.orderIdsUnderWay();
    const underWay = await underWayThisTurn;
    // A queue too long to look through is being worked off: these are most likely in it, and will be looked at again.
    if (underWay === null) return false;
    await handOverAgain(
      { saleId, epoch },
      open.filter((strand) => !underWay.has(strand.id)),
    );
    return true;
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
      const ids = all ? await sales.listIds() : (await sales.listCurrent(RECENT_MS)).map((sale) => sale.id);
      // One sale that cannot be swept must not keep the others from it.
      const faults: unknown[] = [];
      for (const id of ids) await sweepSale(id).catch((error: unknown) => faults.push(error));
      lookAtAll = faults.some((fault) => awayPart(fault) !== null);
      if (faults.length > 0) throw faults[0];
    },
  };
}

/** One look at a sale: reads the gate, then the ledger, and says what is suspicious. */

import type { Pool } from 'pg';
import type { SaleKeys } from '../redis/keys.ts';
import type { AnyRedis } from '../redis/open-redis.ts';
import { type Equation, type GateState, type SaleAudit, suspect } from './audit-report.ts';
import { gateState, judgeGate, readEquation } from './judge-gate.ts';
import { judgeLedger, judgeSettings } from './judge-ledger.ts';
import { judgeOrders } from './judge-orders.ts';
import { type Candidates, type GateSnapshot, parseOrderKey, readGate, readPulse } from './read-gate.ts';
import type { AuditedJob } from './read-jobs.ts';
import { readChanges, readLedger } from './read-ledger.ts';
import type { Said } from './weigh-looks.ts';

export interface Look extends Said {
  /** False where neither ledger nor Redis has anything of such a sale. */
  readonly known: boolean;
  readonly gate: GateState;
  readonly epoch: number | null;
  readonly equation: Equation | null;
  readonly ledger: SaleAudit['ledger'];
  readonly perBuyerLimit: number;
  /** The numbers of gate and ledger as text: another text in another look, and the sale is live. */
  readonly numbers: string;
  /** Whether the gate's numbers moved during this look. */
  readonly moved: boolean;
}

/** Where and by what bounds is looked. */
export interface Lookout {
  readonly redis: AnyRedis;
  readonly pool: Pool;
  readonly saleKeys: SaleKeys;
  readonly saleId: string;
  readonly stuckAfterMs: number;
  readonly gatePatienceMs: number;
}

export async function lookAtSale(lookout: Lookout, jobs: readonly AuditedJob[], candidates: Candidates): Promise<Look> {
  const { redis, pool, saleKeys, saleId } = lookout;
  // A change that is finished while the gate is read is on one side of it or on the other.
  const changesBefore = await readChanges(pool, saleId);
  const gate = await readGate(redis, saleKeys, candidates);
  let pulse = { at: 0, numbers: '' };
  const ledger = await readLedger(pool, {
    saleId,
    at: gate.at,
    ...askedFor(gate, jobs),
    async now() {
      pulse = await readPulse(redis, saleKeys);
      return pulse.at;
    },
  });
  if (!ledger) return withoutLedger(saleId, gate, jobs);
  const state = gateState(gate, ledger.sale.gateVersion);
  const suspects = judgeLedger(ledger);
  let doubts: readonly string[] = [];
  if (state === 'open') {
    suspects.push(...judgeGate(gate), ...judgeSettings(gate, ledger, changesBefore, lookout.stuckAfterMs));
    if (gate.wrongType === null) {
      const { stuckAfterMs } = lookout;
      const orders = judgeOrders({ saleId, jobs, gate, ledger, stuckAfterMs });
      suspects.push(...orders.suspects);
      doubts = orders.doubts;
    }
  } else if (state === 'not opened yet' && ledger.sale.madeMsAgo > lookout.gatePatienceMs) {
    suspects.push(suspect('GATE_MISSING', 'gate', 'The ledger has this sale, and its gate was never made.'));
  }
  const numbers = String(['allotment', 'available', 'reserved', 'sold'].map((name) => gate.fields.get(name)));
  const { sale, confirmed, rejectedOrders } = ledger;
  return {
    known: true,
    gate: state,
    epoch: sale.epoch,
    equation: state === 'open' ? readEquation(gate) : null,
    ledger: { allotment: sale.allotment, sold: sale.sold, confirmed: confirmed.orders, rejected: rejectedOrders },
    perBuyerLimit: sale.perBuyerLimit,
    numbers: `${numbers} ${confirmed.orders} ${rejectedOrders} ${sale.allotment}`,
    moved: state === 'open' && numbers !== pulse.numbers,
    suspects,
    doubts,
  };
}

/** Whom the ledger must be asked about: whoever the gate, the jobs and the candidates name. */
function askedFor(gate: GateSnapshot, jobs: readonly AuditedJob[]) {
  const reservedIds = [...gate.reservations.keys()];
  const orderIds = new Set(reservedIds);
  for (const job of jobs) for (const { id } of job.orders) orderIds.add(id);
  for (const [field, value] of gate.orderKeys) {
    const led = value === null ? null : parseOrderKey(field, value);
    if (led) orderIds.add(led.id);
  }
  const buyerIds = new Set(gate.buyers.keys());
  for (const reservation of gate.reservations.values()) if (reservation) buyerIds.add(reservation.buyerId);
  const keyFields = [...gate.orderKeys.keys()].filter((field) => field.includes(' '));
  return { reservedIds, orderIds: [...orderIds], buyerIds: [...buyerIds], keyFields };
}

/** Nothing can be held against a ledger that does not know the sale; that Redis knows it is enough. */
function withoutLedger(saleId: string, gate: GateSnapshot, jobs: readonly AuditedJob[]): Look {
  const known = gate.fields.size > 0 || gate.reservations.size > 0 || jobs.length > 0 || gate.wrongType !== null;
  const has = [
    ...(gate.fields.size > 0 ? ['a gate'] : []),
    ...(gate.reservations.size > 0 ? [`${gate.reservations.size} reservations`] : []),
    ...(jobs.length > 0 ? [`${jobs.length} jobs on their way`] : []),
  ];
  const detail = `Redis has ${has.join(' and ') || 'keys'} of this sale, and the ledger does not know it.`;
  const state = gateState(gate, 1);
  return {
    known,
    gate: state,
    epoch: null,
    equation: state === 'open' ? readEquation(gate) : null,
    ledger: { allotment: 0, sold: 0, confirmed: 0, rejected: 0 },
    perBuyerLimit: 0,
    numbers: '',
    moved: false,
    suspects: known ? [suspect('SALE_NOT_IN_LEDGER', saleId, detail)] : [],
    doubts: [],
  };
}

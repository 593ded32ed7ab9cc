/**
 * The auditor: reads Redis, PostgreSQL and BullMQ raw, not through the code that it judges, and says whether each sale's numbers add up.
 * A sale may be live meanwhile. What was read at one instant must be right at once; what lies between two stores may be an order on its
 * way. So a suspicion becomes a break only where every one of several looks in a row has it.
 */
import type { Redis } from 'ioredis';
import type { Pool } from 'pg';
import type { Keys } from '../redis/keys.ts';
import { type AuditReport, listBreaks, type SaleAudit, type Suspect, stillSuspected, suspect } from './audit-report.ts';
import { type Look, type Lookout, lookAtSale } from './look-at-sale.ts';
import type { Candidates } from './read-gate.ts';
import { type JobsSnapshot, readJobs } from './read-jobs.ts';
import { listSaleIds } from './read-ledger.ts';
import { surveySale } from './survey-sale.ts';

export interface AuditOptions {
  readonly redis: Redis;
  readonly pool: Pool;
  readonly keys: Keys;
  /** Left out: every sale that the ledger, or a job, knows. */
  readonly saleIds?: readonly string[];
  /** Looks in a row that must have a suspicion. */
  readonly looks?: number;
  /** Milliseconds between two of them. */
  readonly pauseMs?: number;
  /** Milliseconds that an order, or a change of stock, may be on its way. */
  readonly stuckAfterMs?: number;
  /** Milliseconds that a gate may be closed or missing: a worker makes it anew. */
  readonly gatePatienceMs?: number;
}

/** I3: every accepted order ends within it. */
const STUCK_AFTER_MS = 30_000;
const GATE_PATIENCE_MS = 30_000;
const LOOKS = 5;
const PAUSE_MS = 250;
const NO_CANDIDATES: Candidates = { buyers: [], orderKeys: [] };

/** Neither ledger nor Redis has such a sale. */
export class UnknownSaleError extends Error {
  override name = 'UnknownSaleError';
}

/** What is known of a sale after some looks. */
interface Watch extends Lookout {
  /** In a row, at the same gate. */
  looks: number;
  /** State and epoch of the gate: another one, and the looks begin anew. */
  phase: string;
  /** null: this gate was not surveyed yet. */
  candidates: Candidates | null;
  /** null before the first look. */
  suspects: ReadonlyMap<string, Suspect> | null;
  /** Since when the gate was seen closed, ms of performance.now(). */
  closedSince: number | null;
  live: boolean;
  last: Look | null;
  done: boolean;
}

/** @throws UnknownSaleError, or whatever Redis and PostgreSQL throw while they cannot be read */
export async function auditSales(options: AuditOptions): Promise<AuditReport> {
  const { redis, pool, keys, saleIds, looks = LOOKS, pauseMs = PAUSE_MS } = options;
  const at = new Date().toISOString();
  const wanted = saleIds ? new Set(saleIds) : null;
  let jobs = await readJobs(redis, keys, wanted);
  const ids = wanted ?? new Set([...(await listSaleIds(pool)), ...jobs.bySale.keys()]);
  const watches = [...ids].map((saleId) => watchOf(saleId, options));
  let unreadable = stillSuspected(null, jobs.unreadable);
  let queueLooks = 1;
  for (;;) {
    for (const watch of watches) if (!watch.done) await takeLook(watch, jobs, looks);
    const queueDone = unreadable.size === 0 || queueLooks >= looks;
    if (queueDone && watches.every(({ done }) => done)) break;
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
    jobs = await readJobs(redis, keys, wanted);
    if (queueDone) continue;
    unreadable = stillSuspected(unreadable, jobs.unreadable);
    queueLooks += 1;
  }
  const sales = watches.map(toSaleAudit);
  const queue = { breaks: listBreaks(unreadable.values()) };
  return {
    at,
    clean: queue.breaks.length === 0 && sales.every(({ breaks }) => breaks.length === 0),
    looks: Math.max(queueLooks, ...watches.map((watch) => watch.looks)),
    sales,
    queue,
  };
}

function watchOf(saleId: string, options: AuditOptions): Watch {
  const { redis, pool, keys, stuckAfterMs = STUCK_AFTER_MS, gatePatienceMs = GATE_PATIENCE_MS } = options;
  return {
    redis,
    pool,
    saleKeys: keys.sale(saleId),
    saleId,
    stuckAfterMs,
    gatePatienceMs,
    looks: 0,
    phase: '',
    candidates: null,
    suspects: null,
    closedSince: null,
    live: false,
    last: null,
    done: false,
  };
}

async function takeLook(watch: Watch, jobs: JobsSnapshot, looks: number): Promise<void> {
  const carried = jobs.bySale.get(watch.saleId) ?? [];
  let look = await lookAtSale(watch, carried, watch.candidates ?? NO_CANDIDATES);
  if (!look.known) {
    throw new UnknownSaleError(`There is no sale "${watch.saleId}", neither in the ledger nor in Redis.`);
  }
  const phase = `${look.gate} ${look.epoch}`;
  if (phase !== watch.phase) Object.assign(watch, { phase, looks: 0, candidates: null, suspects: null });
  if (watch.candidates === null && look.gate === 'open' && !look.suspects.some(isUnreadable)) {
    watch.candidates = await surveySale(watch, { id: watch.saleId, perBuyerLimit: look.perBuyerLimit });
    // Whoever differed is looked at once more, together with everything else.
    if (watch.candidates.buyers.length > 0 || watch.candidates.orderKeys.length > 0) {
      look = await lookAtSale(watch, carried, watch.candidates);
      if (`${look.gate} ${look.epoch}` !== phase) return;
    }
  }
  watch.live ||= look.moved || (watch.last !== null && watch.last.numbers !== look.numbers);
  watch.last = look;
  watch.looks += 1;
  watch.suspects = stillSuspected(watch.suspects, look.suspects);
  const isShut = look.epoch !== null && (look.gate === 'closed' || look.gate === 'missing');
  if (isShut) waitForGate(watch, look);
  else watch.done = watch.suspects.size === 0 || watch.looks >= looks;
}

/** A gate is shut while a worker makes it anew. Nothing of it is judged until it is open, unless it takes too long. */
function waitForGate(watch: Watch, look: Look): void {
  watch.closedSince ??= performance.now();
  const shutMs = performance.now() - watch.closedSince;
  if (shutMs < watch.gatePatienceMs) return;
  const howLong = `for the ${Math.round(shutMs / 1_000)} s that it was watched`;
  const found =
    look.gate === 'missing'
      ? suspect('GATE_MISSING', 'gate', `Redis has no gate of this sale ${howLong}.`)
      : suspect('GATE_CLOSED', 'gate', `The gate was closed ${howLong}: no worker made it anew.`);
  watch.suspects = new Map([['gate', found], ...(watch.suspects ?? [])]);
  watch.done = true;
}

function isUnreadable({ code, subject }: Suspect): boolean {
  return code === 'GATE_UNREADABLE' && subject === 'keys';
}

function toSaleAudit({ saleId, last, live, suspects }: Watch): SaleAudit {
  const { epoch, gate, equation, ledger } = last as Look;
  return { saleId, epoch, gate, equation, ledger, live, breaks: listBreaks(suspects?.values() ?? []) };
}

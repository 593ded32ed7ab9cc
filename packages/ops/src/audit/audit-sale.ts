/**
 * The auditor: reads Redis, PostgreSQL and BullMQ raw, not through the code that it judges, and says whether each sale's numbers add up.
 * A sale may be live meanwhile. What was read at one instant must be right at once; what lies between two stores may be an order on its
 * way. So a suspicion becomes a break only where every one of several looks in a row has it (weigh-looks.ts).
 */

import type { Keys } from '@flash-sale/core/inventory/keys.ts';
import type { AnyRedis } from '@flash-sale/core/runtime/redis/open-redis.ts';
import type { Pool } from 'pg';
import { type AuditReport, listBreaks, type SaleAudit, type Suspect, suspect } from './audit-report.ts';
import { type Look, type Lookout, lookAtSale } from './look-at-sale.ts';
import type { Candidates } from './read-gate.ts';
import { type JobsSnapshot, readJobs } from './read-jobs.ts';
import { listSaleIds } from './read-ledger.ts';
import { surveySale } from './survey-sale.ts';
import { breaksOf, isDecided, type Opinion, weigh } from './weigh-looks.ts';

export interface AuditOptions {
  readonly redis: AnyRedis;
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
  /** Milliseconds that an inventory may be closed or missing without anything happening to it: a worker rebuilds it. */
  readonly inventoryPatienceMs?: number;
  /** Milliseconds from a sale's first look after which no further one is taken: what is not decided by then is not judged. */
  readonly lengthMs?: number;
}

/** I3: every accepted order ends within it. */
const STUCK_AFTER_MS = 30_000;
const INVENTORY_PATIENCE_MS = 30_000;
/** Several times what an inventory may take, and a rebuilding that is killed and begun again. */
const LENGTH_MS = 120_000;
const LOOKS = 5;
const PAUSE_MS = 250;
const NO_CANDIDATES: Candidates = { buyers: [], orderKeys: [] };

/** Neither ledger nor Redis has such a sale. */
export class UnknownSaleError extends Error {
  override name = 'UnknownSaleError';
}

/** What is known of a sale after some looks. */
interface Watch extends Lookout {
  /** Since when it is looked at, ms of performance.now(); null before the first look. */
  since: number | null;
  /** In a row, at the same inventory. */
  looks: number;
  /** State and epoch of the inventory: another one, and everything begins anew. */
  phase: string;
  /** How many of them were seen. */
  phases: number;
  /** null: this inventory was not surveyed yet. */
  candidates: Candidates | null;
  /** null before the first look at this inventory. */
  opinion: Opinion | null;
  /** Since when this inventory was seen closed or missing, ms of performance.now(). */
  shutSince: number | null;
  /** That it was so for too long. */
  shut: Suspect | null;
  unjudged: string | null;
  live: boolean;
  last: Look | null;
  done: boolean;
}

/** @throws UnknownSaleError, or whatever Redis and PostgreSQL throw while they cannot be read */
export async function auditSales(options: AuditOptions): Promise<AuditReport> {
  const { redis, pool, keys, saleIds, looks = LOOKS, pauseMs = PAUSE_MS, lengthMs = LENGTH_MS } = options;
  const at = new Date().toISOString();
  const wanted = saleIds ? new Set(saleIds) : null;
  let jobs = await readJobs(redis, keys, wanted);
  const ids = wanted ?? new Set([...(await listSaleIds(pool)), ...jobs.bySale.keys()]);
  const watches = [...ids].map((saleId) => watchOf(saleId, options));
  let unreadable = weigh(null, { suspects: jobs.unreadable, doubts: [] });
  let queueLooks = 1;
  for (;;) {
    for (const watch of watches) {
      if (watch.done) continue;
      await takeLook(watch, jobs, looks);
      if (!watch.done) endInTime(watch, looks, lengthMs);
    }
    const queueDone = isDecided(unreadable, looks);
    if (queueDone && watches.every(({ done }) => done)) break;
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
    jobs = await readJobs(redis, keys, wanted);
    if (queueDone) continue;
    unreadable = weigh(unreadable, { suspects: jobs.unreadable, doubts: [] });
    queueLooks += 1;
  }
  const sales = watches.map((watch) => toSaleAudit(watch, looks));
  const queue = { breaks: listBreaks(breaksOf(unreadable, looks)) };
  return {
    at,
    clean: queue.breaks.length === 0 && sales.every(({ breaks, unjudged }) => breaks.length === 0 && unjudged === null),
    looks: Math.max(queueLooks, ...watches.map((watch) => watch.looks)),
    sales,
    queue,
  };
}

function watchOf(saleId: string, options: AuditOptions): Watch {
  const { redis, pool, keys, stuckAfterMs = STUCK_AFTER_MS, inventoryPatienceMs = INVENTORY_PATIENCE_MS } = options;
  return {
    redis,
    pool,
    saleKeys: keys.sale(saleId),
    saleId,
    stuckAfterMs,
    inventoryPatienceMs,
    since: null,
    looks: 0,
    phase: '',
    phases: 0,
    candidates: null,
    opinion: null,
    shutSince: null,
    shut: null,
    unjudged: null,
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
  watch.since ??= performance.now();
  watch.last ??= look;
  const phase = `${look.inventory} ${look.epoch}`;
  if (phase !== watch.phase) {
    watch.phases += 1;
    Object.assign(watch, { phase, looks: 0, candidates: null, opinion: null, shutSince: null });
  }
  if (watch.candidates === null && look.inventory === 'open' && !look.suspects.some(isUnreadable)) {
    watch.candidates = await surveySale(watch, { id: watch.saleId, perBuyerLimit: look.perBuyerLimit });
    // Whoever differed is looked at once more, together with everything else.
    if (watch.candidates.buyers.length > 0 || watch.candidates.orderKeys.length > 0) {
      look = await lookAtSale(watch, carried, watch.candidates);
      if (`${look.inventory} ${look.epoch}` !== phase) return;
    }
  }
  watch.live ||= look.moved || watch.last.numbers !== look.numbers;
  watch.last = look;
  watch.looks += 1;
  watch.opinion = weigh(watch.opinion, look);
  const isShut = look.epoch !== null && (look.inventory === 'closed' || look.inventory === 'missing');
  if (isShut) waitForInventory(watch, look);
  else watch.done = isDecided(watch.opinion, looks);
}

/** An inventory is shut while a worker rebuilds it. Nothing of it is judged until it is open, unless it takes too long. */
function waitForInventory(watch: Watch, look: Look): void {
  watch.shutSince ??= performance.now();
  const shutMs = performance.now() - watch.shutSince;
  if (shutMs < watch.inventoryPatienceMs) return;
  const howLong = `for the ${Math.round(shutMs / 1_000)} s that it was watched`;
  watch.shut =
    look.inventory === 'missing'
      ? suspect('INVENTORY_MISSING', 'inventory', `Redis has no inventory of this sale ${howLong}.`)
      : suspect('INVENTORY_CLOSED', 'inventory', `The inventory was closed ${howLong}: no worker made it anew.`);
  watch.done = true;
}

/** What could not be decided is no break, and it is not well either. */
function endInTime(watch: Watch, looks: number, lengthMs: number): void {
  const ms = performance.now() - (watch.since as number);
  if (ms < lengthMs) return;
  const time = `${Math.round(ms / 1_000)} s`;
  watch.unjudged =
    watch.shutSince !== null || watch.looks < looks
      ? `In ${time} the inventory was closed, lost or rebuilt ${watch.phases - 1} times, and never stood long enough to be judged.`
      : `In ${time} no look could tell what is on its way from what is wrong: too much is ordered at once. Look again later.`;
  watch.done = true;
}

function isUnreadable({ code, subject }: Suspect): boolean {
  return code === 'INVENTORY_UNREADABLE' && subject === 'keys';
}

function toSaleAudit({ saleId, last, live, opinion, shut, unjudged }: Watch, looks: number): SaleAudit {
  const { epoch, inventory, equation, ledger } = last as Look;
  // Nothing changes in an inventory that nobody makes anew: few looks are enough there.
  const found = [...(shut ? [shut] : []), ...breaksOf(opinion ?? new Map(), shut ? 1 : looks)];
  return { saleId, epoch, inventory, equation, ledger, live, unjudged, breaks: listBreaks(found) };
}

/** Checks of every reply: form, code, time, and a reason for each failure. */
import { type Call, type Question, type Reply, wordOf } from './calls.ts';
import type { FaultLog } from './fault-log.ts';

/** The contract's codes and statuses (docs/openapi.json), repeated here on purpose. */
const STATUS_OF: Readonly<Record<string, number>> = {
  INVALID_REQUEST: 400,
  SALE_NOT_OPEN: 400,
  SALE_PAUSED: 400,
  SALE_ENDED: 400,
  SOLD_OUT: 400,
  NOT_ENOUGH_UNITS: 400,
  BUYER_LIMIT: 400,
  SALE_NOT_FOUND: 404,
  ORDER_NOT_FOUND: 404,
  REQUEST_TOO_SLOW: 408,
  SALE_EXISTS: 409,
  UNITS_PROMISED: 409,
  IDEMPOTENCY_KEY_REUSED: 422,
  INVENTORY_UNAVAILABLE: 503,
  LEDGER_UNAVAILABLE: 503,
  SALE_RECOVERING: 503,
  STOCK_CHANGE_PENDING: 503,
  OUTCOME_UNKNOWN: 503,
  LEDGER_BEHIND: 503,
  OVERLOADED: 503,
};

/** Refusals of each question, besides codes that name a degraded dependency. */
const REFUSALS: Readonly<Record<Question['kind'], readonly string[]>> = {
  order: [
    'SALE_NOT_OPEN',
    'SALE_PAUSED',
    'SALE_ENDED',
    'SOLD_OUT',
    'NOT_ENOUGH_UNITS',
    'BUYER_LIMIT',
    'SALE_NOT_FOUND',
    'IDEMPOTENCY_KEY_REUSED',
  ],
  read_order: ['ORDER_NOT_FOUND'],
  read_sale: ['SALE_NOT_FOUND'],
  make_sale: ['SALE_EXISTS'],
  pause: ['SALE_NOT_FOUND'],
  resume: ['SALE_NOT_FOUND'],
  move_window: ['SALE_NOT_FOUND'],
  change_stock: ['SALE_NOT_FOUND', 'UNITS_PROMISED'],
  read_numbers: ['SALE_NOT_FOUND'],
};

export interface Rules {
  /** REQUEST_TIMEOUT_MS of the processes. */
  readonly requestTimeoutMs: number;
  /** ms that a busy machine may add to a reply. */
  readonly slackMs: number;
  /** ms in which every accepted order must end once everything is up. */
  readonly terminalWithinMs: number;
  /** Redis may be emptied: orders that the ledger does not have may be lost. */
  readonly redisMayLose: boolean;
}

export const RULES: Rules = { requestTimeoutMs: 2_000, slackMs: 1_500, terminalWithinMs: 30_000, redisMayLose: false };

const isOperators = (kind: Question['kind']): boolean =>
  ['make_sale', 'pause', 'resume', 'move_window', 'change_stock', 'read_numbers'].includes(kind);

/**
 * ms that a reply may take. An order waits for Redis; reading one has one deadline for all. Reading
 * a sale waits for Redis, then for a connection to PostgreSQL, then for its reply; an operator's
 * change does that for several steps in a row.
 */
function budgetMs(kind: Question['kind'], word: string, rules: Rules): number {
  const { requestTimeoutMs: limit, slackMs } = rules;
  const ledger = 2 * limit + 1_000;
  if (kind === 'order') {
    // A sale that the inventory lacks is looked up in the catalogue and the ledger.
    const looked = ['SALE_NOT_FOUND', 'SALE_RECOVERING', 'LEDGER_UNAVAILABLE'].includes(word);
    return (looked ? 2 * limit + ledger : limit) + slackMs;
  }
  if (kind === 'read_order') return limit + slackMs;
  if (kind === 'read_sale') return 2 * limit + ledger + slackMs;
  return 4 * ledger + slackMs;
}

/** @returns what is wrong with the reply as such */
export function checkReply(call: Call, reply: Reply, faults: FaultLog, rules: Rules): string[] {
  const wrong: string[] = [];
  const { kind } = call.asked;
  const word = wordOf(reply);
  const took = reply.endedAt - call.sentAt;
  const allowed = budgetMs(kind, word, rules);
  if (took > allowed && took - faults.stoodStill(call.api, call.sentAt, reply.endedAt) > allowed) {
    wrong.push(`late: ${word} after ${took.toFixed(0)} ms, and ${allowed} ms are allowed`);
  }
  if (reply.how === 'broken' || reply.how === 'refused_connection') {
    if (!faults.wasKilled(call.api, call.sentAt, reply.endedAt)) {
      wrong.push(`${reply.how}, and ${call.api} was not killed`);
    }
    return wrong;
  }
  if (reply.how !== 'replied' || word === 'ok') return wrong;
  if (STATUS_OF[word] !== reply.status) wrong.push(`status ${reply.status} with code ${word}`);
  if (!reply.contentType.startsWith('application/problem+json')) wrong.push(`${word} as ${reply.contentType}`);
  const { retryable } = reply.body;
  if (typeof retryable !== 'boolean') wrong.push(`${word} without retryable`);
  if (retryable !== /^[1-9]\d*$/.test(reply.retryAfter ?? ''))
    wrong.push(`${word} with retryable ${retryable} and Retry-After ${reply.retryAfter}`);
  const degraded = reply.status >= 500 || word === 'REQUEST_TOO_SLOW';
  if (degraded) {
    if (!faults.excuses(word, call.api, isOperators(kind), call.sentAt, reply.endedAt)) {
      wrong.push(`${word}, and nothing that it names was degraded`);
    }
  } else if (!REFUSALS[kind].includes(word) && STATUS_OF[word] !== undefined) {
    wrong.push(`${word} as the answer to ${kind}`);
  }
  return wrong;
}

/** Refusals that an API may cache: an invalidation may be on its way. */
const REMEMBERED = new Set(['SOLD_OUT', 'SALE_PAUSED', 'SALE_ENDED', 'SALE_NOT_OPEN']);
const REMEMBERED_MS = 500;

/** ms by which a refusal may be outdated. A request with a key is never refused from the cache. */
export function ageOf(word: string, key: string | null): number {
  return key === null && REMEMBERED.has(word) ? REMEMBERED_MS : 0;
}

/**
 * Maps the outcomes of placeOrder to problem codes. Statuses and messages: ../plugins/problems.ts.
 */
import type { FastifyReply } from 'fastify';
import type { ProblemCode, ProblemFields } from '../plugins/problems.ts';
import type { PlaceOrderOutcome } from './place-order.ts';

export type Refusal = Exclude<PlaceOrderOutcome, { word: 'reserved' | 'replayed' }>;

interface RefusalContext {
  /** Milliseconds until the global rate limiter has a permit. */
  readonly permitInMs: number;
  readonly orderId: string | null;
  /** The request has an idempotency key: repeating it returns the same order. */
  readonly repeatable: boolean;
}

type Answer = readonly [code: ProblemCode, fields?: ProblemFields];

const answers: {
  [Word in Refusal['word']]: (refusal: Extract<Refusal, { word: Word }>, context: RefusalContext) => Answer;
} = {
  unknown_sale: () => ['SALE_NOT_FOUND'],
  recovering: () => ['SALE_RECOVERING', { detail: "The sale's inventory is being rebuilt. Nothing was taken." }],
  paused: () => ['SALE_PAUSED'],
  not_open: ({ waitMs }) => ['SALE_NOT_OPEN', { retry_after_ms: waitMs }],
  ended: () => ['SALE_ENDED'],
  sold_out: () => ['SOLD_OUT', { available: 0 }],
  not_enough_units: ({ available }) => ['NOT_ENOUGH_UNITS', { available }],
  over_buyer_limit: ({ holds }) => ['BUYER_LIMIT', { holds }],
  key_reused: () => ['IDEMPOTENCY_KEY_REUSED'],
  buyer_limited: ({ waitMs }) => ['BUYER_RATE_LIMITED', { retry_after_ms: waitMs }],
  system_limited: (_, { permitInMs }) => ['SYSTEM_RATE_LIMITED', { retry_after_ms: permitInMs }],
  ledger_behind: () => ['LEDGER_BEHIND'],
  inventory_unavailable: () => [
    'INVENTORY_UNAVAILABLE',
    { detail: 'The inventory is unavailable. Nothing was taken.' },
  ],
  outcome_unknown: (_, { repeatable, orderId }) =>
    repeatable
      ? [
          'OUTCOME_UNKNOWN',
          {
            retryable: true,
            detail:
              'The inventory did not answer in time: the order may have been taken. Repeat the request with the same key.',
          },
        ]
      : // With a key, an earlier attempt may own the order; without one, this id is the only one.
        ['OUTCOME_UNKNOWN', orderId === null ? {} : { order_id: orderId }],
};

/** Answers an order that was not accepted. */
export function refuse(reply: FastifyReply, refusal: Refusal, context: RefusalContext): FastifyReply {
  const answer = answers[refusal.word] as (refusal: Refusal, context: RefusalContext) => Answer;
  return reply.problem(...answer(refusal, context));
}

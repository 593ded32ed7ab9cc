/** The one map from outcomes to problems. Their statuses and sentences: ../plugins/problems.ts. */
import type { FastifyReply } from 'fastify';
import type { ProblemCode, ProblemFields } from '../plugins/problems.ts';
import type { PlaceOrderOutcome } from './place-order.ts';

export type Refusal = Exclude<PlaceOrderOutcome, { kind: 'reserved' | 'replayed' }>;

interface RefusalContext {
  /** Milliseconds until the global rate limiter has a permit. */
  readonly permitInMs: number;
  /** Of this request; null where none was created. */
  readonly orderId: string | null;
  /** The request carried an idempotency key: repeating it returns the same order. */
  readonly repeatable: boolean;
}

type Answer<Kind> = readonly [
  code: ProblemCode,
  fields?: (refusal: Extract<Refusal, { kind: Kind }>, context: RefusalContext) => ProblemFields,
];

const answers: { readonly [Kind in Refusal['kind']]: Answer<Kind> } = {
  unknown_sale: ['SALE_NOT_FOUND'],
  recovering: ['SALE_RECOVERING', () => ({ detail: "The sale's inventory is being rebuilt. Nothing was taken." })],
  paused: ['SALE_PAUSED'],
  not_open: ['SALE_NOT_OPEN', ({ waitMs }) => ({ retry_after_ms: waitMs })],
  ended: ['SALE_ENDED'],
  sold_out: ['SOLD_OUT', () => ({ available: 0 })],
  not_enough_units: ['NOT_ENOUGH_UNITS', ({ available }) => ({ available })],
  over_buyer_limit: ['BUYER_LIMIT', ({ holds }) => ({ holds })],
  key_reused: ['IDEMPOTENCY_KEY_REUSED'],
  buyer_limited: ['BUYER_RATE_LIMITED', ({ waitMs }) => ({ retry_after_ms: waitMs })],
  system_limited: ['SYSTEM_RATE_LIMITED', (_, { permitInMs }) => ({ retry_after_ms: permitInMs })],
  ledger_behind: ['LEDGER_BEHIND'],
  inventory_unavailable: [
    'INVENTORY_UNAVAILABLE',
    () => ({ detail: 'The inventory is unavailable. Nothing was taken.' }),
  ],
  outcome_unknown: ['OUTCOME_UNKNOWN', fieldsOfUnknown],
};

/** Codes of this table, for the route's schema. */
export const refusalCodes: readonly ProblemCode[] = Object.values(answers).map(([code]) => code);

/** Answers an order that was not accepted. */
export function refuse(reply: FastifyReply, refusal: Refusal, context: RefusalContext): FastifyReply {
  const [code, fields] = answers[refusal.kind] as Answer<Refusal['kind']>;
  return reply.problem(code, fields?.(refusal, context));
}

/** With a key an earlier request may own the order, so this request's id is of no use. */
function fieldsOfUnknown(_: unknown, { repeatable, orderId }: RefusalContext): ProblemFields {
  if (!repeatable) return orderId === null ? {} : { order_id: orderId };
  return {
    retryable: true,
    detail:
      'The inventory did not answer in time: the order may have been taken. Repeat the request with the same key.',
  };
}

/** What the auditor knows about orders, calls for them, and idempotency keys. */
import { type Call, type QuestionOf, type Reply, wordOf } from './calls.ts';

/** An order whose id was in a reply. */
export interface KnownOrder {
  readonly id: string;
  readonly saleId: string;
  readonly buyerId: string;
  readonly quantity: number;
  readonly key: string | null;
  /** Earliest call that can have made it. */
  readonly from: number;
  /** When a reply first showed that it holds units, or Infinity. */
  takenBy: number;
  /** When its buyer got "accepted", or Infinity. */
  acceptedAt: number;
  /** Replies that do not say that they repeat an earlier one. */
  fresh: number;
  terminal: { status: 'confirmed' | 'rejected'; at: number } | null;
  /** Its calls and replies, a line each. */
  readonly history: string[];
  /** Its buyer got a 404, and Redis was emptied after it was accepted. */
  gone: boolean;
}

/** A call for an order, and what is known about it. */
export interface Attempt {
  readonly asked: QuestionOf<'order'>;
  readonly sentAt: number;
  word: string;
  open: boolean;
  orderId: string | null;
}

export interface KeyUse {
  orderId: string | null;
  knownAt: number;
  readonly quantities: Map<number, number>;
}

/** Lines of an order's history: its beginning matters most. */
const HISTORY_MAX = 40;

/** Adds a call to the order's history, which is shown with a violation. */
export function note(order: KnownOrder, call: Call, reply: Reply): void {
  const seconds = (ms: number): string => (ms / 1_000).toFixed(3);
  const { asked } = call;
  if (order.history.length >= HISTORY_MAX) return;
  const status = typeof reply.body.status === 'string' ? ` ${reply.body.status}` : '';
  order.history.push(
    `${seconds(call.sentAt)}–${seconds(reply.endedAt)} call-${call.n} ${call.api} ${asked.kind}` +
      `${'buyerId' in asked ? ` of ${asked.buyerId}` : ''}: ${reply.status} ${wordOf(reply)}${status}${reply.replayed ? ' (replayed)' : ''}`,
  );
}

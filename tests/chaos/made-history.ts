/** Histories made by hand: one sale, its buyers and operator, and an end that matches. */

import { test } from 'vitest';
import { Auditor, type Violation } from './auditor.ts';
import type { EndState, LedgerRow, Question, Reply } from './calls.ts';
import { checkEnd } from './check-end.ts';

export const SALE = 'tea';
const PRICE_CENTS = 250;

type Answer = { status?: number; how?: Reply['how'] } & Partial<
  Pick<Reply, 'replayed' | 'retryAfter' | 'contentType'>
> & {
    body?: Record<string, unknown>;
  };

export class History {
  readonly auditor = new Auditor();
  #n = 0;

  constructor(facts: { units?: number; cap?: number } = {}) {
    const { units = 10, cap = 0 } = facts;
    const asked = { kind: 'make_sale', saleId: SALE, units, cap, priceCents: PRICE_CENTS } as const;
    const numbers = { allotment: units, available: units, reserved: 0, sold: 0 };
    this.tell({ ...asked, startsAt: -1_000, endsAt: 1e9 }, [0, 1], { status: 201, body: numbers });
  }

  /** A call that is not answered yet. @returns how to answer it */
  ask(asked: Question, sentAt: number, api = 'api-1'): (endedAt: number, answer: Answer) => number {
    const call = { n: ++this.#n, api, asked, sentAt };
    this.auditor.begun(call);
    return (endedAt, { status = 200, how = 'replied', body = {}, ...more }) => {
      const refused = status >= 400;
      const reply: Reply = {
        how,
        endedAt,
        status: how === 'replied' ? status : 0,
        body: refused ? { retryable: true, ...body } : body,
        contentType: refused ? 'application/problem+json' : 'application/json',
        retryAfter: refused ? '1' : null,
        replayed: false,
        ...more,
      };
      this.auditor.ended(call, reply);
      return call.n;
    };
  }

  /** @param times sent and answered */
  tell(asked: Question, times: readonly [number, number], answer: Answer = {}): number {
    return this.ask(asked, times[0])(times[1], answer);
  }

  order(
    buyerId: string,
    times: readonly [number, number],
    answer: Answer | 'refused' | { accepted: string; remaining: number; replayed?: boolean } | string,
    more: { quantity?: number; key?: string | null } = {},
  ): number {
    const { quantity = 1, key = null } = more;
    const asked: Question = { kind: 'order', saleId: SALE, buyerId, quantity, key };
    if (typeof answer === 'string')
      return this.tell(asked, times, { status: statusOf(answer), body: { code: answer } });
    if (!('accepted' in answer)) return this.tell(asked, times, answer);
    const body = {
      order_id: `${SALE}-${answer.accepted}`,
      status: 'accepted',
      product_id: SALE,
      quantity,
      remaining: answer.remaining,
      ...(answer.replayed && { replayed: true }),
    };
    return this.tell(asked, times, { body, replayed: answer.replayed ?? false });
  }

  read(id: string, buyerId: string, times: readonly [number, number], status: string, more: object = {}): number {
    const asked: Question = { kind: 'read_order', orderId: `${SALE}-${id}`, buyerId };
    if (status === 'ORDER_NOT_FOUND') return this.tell(asked, times, { status: 404, body: { code: status } });
    const order = this.auditor.orders.get(`${SALE}-${id}`);
    const quantity = order?.quantity ?? 1;
    const amount = status === 'confirmed' ? { amount: (quantity * PRICE_CENTS) / 100 } : {};
    const body = { order_id: `${SALE}-${id}`, product_id: SALE, quantity, status, ...amount, ...more };
    return this.tell(asked, times, { body });
  }

  /** The row that the call with this number made. */
  row(n: number, id: string, more: Partial<LedgerRow> = {}): LedgerRow {
    const { asked } = this.auditor.attempts.get(n) ?? { asked: { buyerId: '', quantity: 1, key: null } };
    const { buyerId, quantity, key } = asked;
    const fits = { saleId: SALE, buyerId, quantity, key, status: 'confirmed', reason: null, requestId: `call-${n}` };
    return { id: `${SALE}-${id}`, amountCents: quantity * PRICE_CENTS, ...fits, ...more };
  }

  /** Ends the history with these rows. @returns the sentences of all violations */
  end(
    rows: readonly LedgerRow[],
    more: { inventory?: object; allotment?: number; changes?: Record<string, string> } = {},
  ): string[] {
    const { inventory = {}, changes = {} } = more;
    const units = this.auditor.sales.get(SALE)?.units ?? 0;
    const { allotment = units } = more;
    const sold = rows.filter((row) => row.status === 'confirmed').reduce((sum, row) => sum + row.quantity, 0);
    const state: EndState = {
      rows,
      changes: new Map(Object.entries(changes)),
      sales: [
        {
          saleId: SALE,
          ledger: { allotment, sold },
          inventory: { allotment, available: allotment - sold, reserved: 0, sold, reservations: 0, ...inventory },
        },
      ],
    };
    checkEnd(this.auditor, state, 1e6);
    return this.sentences();
  }

  sentences(): string[] {
    return this.auditor.violations.map(({ kind, sentence }: Violation) => `${kind}: ${sentence}`);
  }
}

function statusOf(code: string): number {
  if (code === 'IDEMPOTENCY_KEY_REUSED') return 422;
  if (code.endsWith('NOT_FOUND')) return 404;
  if (['INVENTORY_UNAVAILABLE', 'OUTCOME_UNKNOWN', 'SALE_RECOVERING', 'LEDGER_UNAVAILABLE'].includes(code)) return 503;
  return code === 'INTERNAL' ? 500 : 400;
}

export const accepted = (id: string, remaining: number, replayed = false) => ({ accepted: id, remaining, replayed });

/** No reply. */
export const unanswered = { how: 'broken' as const };

/** Its API was killed, so that a connection may break. */
export function killed(history: History, from: number, until: number): void {
  history.auditor.faults.begin('api-1', 'kill', from)(until);
}

/** A test with a history of ten units without a cap. */
export const audited = test.extend('history', () => new History());

/**
 * The auditor sees every call and reply and checks each against a model of the sales. It knows the
 * contract and no product code. What only the end can show is recorded by sale and checked by
 * check-end.ts.
 *
 * A call without a reply may have been carried out at any time after it was sent, so the model
 * works with bounds: what must have been, and what can have been.
 */
import { type Call, isOutcomeOpen, type QuestionOf, type Reply, wordOf } from './calls.ts';
import { ageOf, checkReply, RULES, type Rules } from './check-reply.ts';
import { checkOperators, checkPage, type Must } from './check-sales.ts';
import { FaultLog } from './fault-log.ts';
import { type Attempt, type KeyUse, type KnownOrder, note } from './known-orders.ts';
import { SaleRecord } from './sale-record.ts';

export type ViolationKind = 'untrue' | 'oversold' | 'leaked' | 'lost' | 'stuck' | 'exit';

export interface Violation {
  readonly kind: ViolationKind;
  readonly sentence: string;
  readonly at: number;
  /** Number of the call; 0 for the end state. */
  readonly n: number;
  readonly orderId: string | null;
}

const TERMINAL = new Set(['confirmed', 'rejected']);

export class Auditor {
  readonly rules: Rules;
  readonly faults: FaultLog;
  readonly sales = new Map<string, SaleRecord>();
  readonly orders = new Map<string, KnownOrder>();
  readonly attempts = new Map<number, Attempt>();
  readonly violations: Violation[] = [];
  /** Replies by "kind status word". */
  readonly tally = new Map<string, number>();
  readonly #keys = new Map<string, KeyUse>();
  readonly #settings = new Map<number, (endedAt: number | null) => void>();

  constructor(rules: Rules = RULES, workers: readonly string[] = ['worker-1', 'worker-2']) {
    this.rules = rules;
    this.faults = new FaultLog(workers);
  }

  report(kind: ViolationKind, sentence: string, at: number, n = 0, orderId: string | null = null): void {
    this.violations.push({ kind, sentence, at, n, orderId });
  }

  /**
   * A process that was ready may not end by itself; one that starts may, if a server is degraded.
   */
  exited(name: string, how: string, wasReady: boolean, at: number): void {
    const degraded = this.faults.excuses('start', name, false, at, at);
    if (wasReady || !degraded) this.report('exit', `${name} ended by itself: ${how}`, at);
  }

  /** Accepted orders that were not yet read in a final status. */
  unfinished(): KnownOrder[] {
    return [...this.orders.values()].filter(
      (order) => order.acceptedAt < Infinity && order.terminal === null && !order.gone,
    );
  }

  /** Whether Redis was emptied after it was accepted, and before it was seen in the ledger. */
  mayBeGone(order: KnownOrder): boolean {
    return this.rules.redisMayLose && order.terminal === null && this.faults.redisWasEmptiedAfter(order.from);
  }

  /** Called when a question is sent. */
  begun(call: Call): void {
    const { asked, n, sentAt } = call;
    switch (asked.kind) {
      case 'order': {
        this.attempts.set(n, { asked, sentAt, word: 'under_way', open: true, orderId: null });
        const use = this.#keyUse(asked);
        if (use && !use.quantities.has(asked.quantity)) use.quantities.set(asked.quantity, sentAt);
        return;
      }
      case 'make_sale':
        if (!this.sales.has(asked.saleId)) this.sales.set(asked.saleId, new SaleRecord(asked, sentAt));
        return;
      case 'pause':
      case 'resume':
      case 'move_window':
        this.#settings.set(n, this.#record(asked.saleId).beginSetting(asked, sentAt));
        return;
      case 'change_stock': {
        const { changes } = this.#record(asked.saleId);
        const { changeId: id, delta } = asked;
        if (!changes.has(id)) changes.set(id, { id, delta, from: sentAt, until: Infinity, told: null, open: false });
        return;
      }
    }
  }

  /** Called when it ended; checks the reply. */
  ended(call: Call, reply: Reply): void {
    const word = wordOf(reply);
    const counted = `${call.asked.kind} ${reply.status || '–'} ${word}`;
    this.tally.set(counted, (this.tally.get(counted) ?? 0) + 1);
    const must = (holds: boolean, sentence: string, orderId: string | null = null): void => {
      if (!holds) this.report('untrue', sentence, reply.endedAt, call.n, orderId);
    };
    for (const sentence of checkReply(call, reply, this.faults, this.rules)) must(false, sentence);
    const { asked } = call;
    if (asked.kind === 'order') this.#checkOrder(asked, call, reply, must);
    else if (asked.kind === 'read_order') this.#checkRead(asked, call, reply, must);
    else if (asked.kind === 'read_sale')
      checkPage(call, reply, this.#record(asked.saleId), this.faults, this.rules, must);
    else {
      checkOperators(asked, call, reply, this.#record(asked.saleId), must, this.#settings.get(call.n));
      this.#settings.delete(call.n);
    }
  }

  #checkOrder(asked: QuestionOf<'order'>, call: Call, reply: Reply, must: Must): void {
    const { n, sentAt } = call;
    const word = wordOf(reply);
    const attempt = this.attempts.get(n) as Attempt;
    attempt.word = word;
    attempt.open = isOutcomeOpen(reply);
    const use = this.#keyUse(asked);
    const record = this.#record(asked.saleId);
    const number = Number(reply.body.available ?? reply.body.holds ?? reply.body.remaining ?? Number.NaN);
    const say = (said: string): void => {
      record.statements.push({
        n,
        word: said,
        sentAt: sentAt - ageOf(said, asked.key),
        endedAt: reply.endedAt,
        buyerId: asked.buyerId,
        quantity: asked.quantity,
        number,
      });
    };
    if (word === 'OUTCOME_UNKNOWN' && asked.key === null) {
      const id = reply.body.order_id;
      must(typeof id === 'string', 'OUTCOME_UNKNOWN without a key and without the order_id to ask for');
      if (typeof id === 'string') this.#know(asked, id, call, reply);
      return;
    }
    if (word === 'IDEMPOTENCY_KEY_REUSED') {
      const other = [...(use?.quantities ?? [])].some(
        ([used, from]) => used !== asked.quantity && from <= reply.endedAt,
      );
      must(other, 'IDEMPOTENCY_KEY_REUSED, and no other quantity was ever sent with this key');
      const known = use?.orderId ? this.orders.get(use.orderId) : undefined;
      must(
        known?.quantity !== asked.quantity,
        'IDEMPOTENCY_KEY_REUSED for the quantity of its order',
        known?.id ?? null,
      );
      return;
    }
    if (word !== 'ok') {
      if (reply.how !== 'replied' || reply.status >= 500) {
        if (word === 'SALE_RECOVERING') say(word);
        return;
      }
      const keyHasOrder = use?.orderId != null && use.knownAt <= sentAt;
      must(!keyHasOrder, `${word}, and the key had its order`, use?.orderId ?? null);
      say(word);
      return;
    }
    this.#checkAccepted(asked, call, reply, use, must);
    say(reply.replayed ? 'replayed' : 'accepted');
  }

  #checkAccepted(asked: QuestionOf<'order'>, call: Call, reply: Reply, use: KeyUse | null, must: Must): void {
    const { order_id: id, status, product_id, quantity, remaining } = reply.body;
    const statuses = reply.replayed ? ['accepted', 'pending', ...TERMINAL] : ['accepted'];
    must(
      reply.status === 200 && statuses.includes(String(status)),
      `${reply.replayed ? 'replayed' : 'accepted'} as ${reply.status} ${String(status)}`,
    );
    must(reply.replayed === (reply.body.replayed === true), 'header and body differ in whether it repeats');
    must(typeof id === 'string' && id.startsWith(`${asked.saleId}-`), `the order id ${String(id)} is not of this sale`);
    if (typeof id !== 'string') return;
    (this.attempts.get(call.n) as Attempt).orderId = id;
    must(product_id === asked.saleId && quantity === asked.quantity, 'accepted something else than was asked for', id);
    must(Number.isInteger(remaining) && Number(remaining) >= 0, `${String(remaining)} remaining`, id);
    must(!reply.replayed || asked.key !== null, 'replayed without a key', id);
    const before = this.orders.get(id);
    if (before) {
      const same = before.buyerId === asked.buyerId && before.saleId === asked.saleId;
      must(same, `order ${id} was given to ${before.buyerId} and to ${asked.buyerId}`, id);
      must(before.key !== null && before.key === asked.key, 'two requests without the same key got one order', id);
      must(
        before.quantity === asked.quantity,
        `the order has ${before.quantity} units, and ${asked.quantity} were told`,
        id,
      );
    }
    const order = this.#know(asked, id, call, reply);
    order.acceptedAt = Math.min(order.acceptedAt, reply.endedAt);
    order.takenBy = Math.min(order.takenBy, reply.endedAt);
    if (!reply.replayed) {
      order.fresh += 1;
      must(order.fresh === 1, 'the same order was accepted twice, and neither reply says that it repeats', id);
    }
    if (use) {
      const earlier = use.orderId === null ? undefined : this.orders.get(use.orderId);
      if (earlier && this.mayBeGone(earlier)) use.orderId = id;
      must(use.orderId === null || use.orderId === id, `one key has two orders: ${use.orderId} and ${id}`, id);
      use.orderId ??= id;
      use.knownAt = Math.min(use.knownAt, reply.endedAt);
    }
    if (status === 'accepted') must(order.terminal?.status !== 'rejected', 'accepted, and it was rejected', id);
    else this.#checkStatus(order, call, reply, must);
  }

  #checkRead({ orderId: id, buyerId }: QuestionOf<'read_order'>, call: Call, reply: Reply, must: Must): void {
    const order = this.orders.get(id);
    const word = wordOf(reply);
    if (order) note(order, call, reply);
    if (word === 'ORDER_NOT_FOUND') {
      if (order?.buyerId !== buyerId) return;
      if (order.terminal === null && this.mayBeGone(order)) {
        order.gone = true;
        return;
      }
      must(order.takenBy > call.sentAt, 'ORDER_NOT_FOUND for its buyer, who had been told that it is there', id);
      return;
    }
    if (word !== 'ok') return;
    must(order !== undefined, `the order ${id}, which nobody was told of, can be read`, id);
    if (!order) return;
    must(order.buyerId === buyerId, `the order of ${order.buyerId} is shown to ${buyerId}`, id);
    const { body, endedAt } = reply;
    const status = String(body.status);
    must(['pending', 'confirmed', 'rejected'].includes(status), `status ${status}`, id);
    must(
      body.order_id === id && body.product_id === order.saleId && body.quantity === order.quantity,
      'another order is shown than was asked for',
      id,
    );
    order.takenBy = Math.min(order.takenBy, endedAt);
    if (status === 'confirmed') {
      const cents = Math.round(Number(body.amount) * 100);
      const price = this.#record(order.saleId).priceCents;
      must(
        cents === price * order.quantity,
        `amount ${String(body.amount)} for ${order.quantity} × ${price / 100}`,
        id,
      );
    }
    this.#checkStatus(order, call, reply, must);
  }

  #checkStatus(order: KnownOrder, call: Call, { body, endedAt }: Reply, must: Must): void {
    const status = String(body.status);
    if (status === 'rejected') must(this.rules.redisMayLose, `rejected: ${String(body.reason)}`, order.id);
    const { terminal } = order;
    if (terminal) {
      const backwards = status !== terminal.status && (TERMINAL.has(status) || call.sentAt >= terminal.at);
      must(!backwards, `${status} after ${terminal.status}: a status moved backwards`, order.id);
    } else if (TERMINAL.has(status)) order.terminal = { status: status as 'confirmed' | 'rejected', at: endedAt };
  }

  #know(asked: QuestionOf<'order'>, id: string, call: Call, reply: Reply): KnownOrder {
    const { saleId, buyerId, quantity, key } = asked;
    let order = this.orders.get(id);
    if (!order) {
      const from = Math.min(call.sentAt, this.#keyUse(asked)?.quantities.get(quantity) ?? call.sentAt);
      const unknown = { takenBy: Infinity, acceptedAt: Infinity, fresh: 0, terminal: null, history: [], gone: false };
      order = { id, saleId, buyerId, quantity, key, from, ...unknown };
      this.orders.set(id, order);
    }
    note(order, call, reply);
    return order;
  }

  #keyUse({ saleId, buyerId, key }: QuestionOf<'order'>): KeyUse | null {
    if (key === null) return null;
    const name = `${saleId} ${buyerId} ${key}`;
    let use = this.#keys.get(name);
    if (!use) {
      use = { orderId: null, knownAt: Infinity, quantities: new Map() };
      this.#keys.set(name, use);
    }
    return use;
  }

  #record(saleId: string): SaleRecord {
    const record = this.sales.get(saleId);
    if (!record) throw new Error(`nobody made the sale ${saleId}`);
    return record;
  }
}

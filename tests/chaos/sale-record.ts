/**
 * What the auditor knows of one sale: its settings over time, its changes of stock, and every statement about its stock. Statements are
 * checked at the end, when it is known what became of the calls that were not answered.
 */
import type { Call, Question, QuestionOf } from './calls.ts';
import type { FaultLog } from './fault-log.ts';
import { Amounts, Setting, StockBounds } from './intervals.ts';

/** After this an operator's change without a reply is carried out or never will be: no process waits that long. */
const OPEN_CHANGE_ENDS_MS = 60_000;

/** Milliseconds by which two clocks of one machine may differ in what they call the beginning of a sale. */
const CLOCK_SLACK_MS = 100;

/** What a reply says of the sale's stock or settings. */
export interface Statement {
  readonly n: number;
  readonly word: string;
  readonly sentAt: number;
  readonly endedAt: number;
  readonly buyerId: string;
  readonly quantity: number;
  /** Units that the reply names: available, remaining or held. */
  readonly number: number;
  /** Where the reply names it. */
  readonly allotment?: number;
}

export interface Change {
  readonly id: string;
  readonly delta: number;
  readonly from: number;
  until: number;
  /** The final reply to the operator. */
  told: 'applied' | 'refused' | null;
  /** Some asking for it was not answered. */
  open: boolean;
}

export interface Taken {
  readonly buyerId: string;
  readonly quantity: number;
  readonly from: number;
  readonly until: number;
}

export interface StockViolation {
  readonly n: number;
  readonly kind: 'oversold' | 'untrue';
  readonly sentence: string;
}

export class SaleRecord {
  readonly id: string;
  readonly units: number;
  readonly cap: number;
  readonly priceCents: number;
  readonly changes = new Map<string, Change>();
  readonly statements: Statement[] = [];
  readonly paused = new Setting<boolean>();
  readonly window = new Setting<{ startsAt: number; endsAt: number }>();
  readonly madeFrom: number;
  /** When the operator got the reply that it was created; Infinity until then. */
  madeUntil = Number.POSITIVE_INFINITY;

  constructor(call: Call<QuestionOf<'make_sale'>>) {
    const { saleId, units, cap, priceCents, startsAt, endsAt } = call.asked;
    this.id = saleId;
    this.units = units;
    this.cap = cap;
    this.priceCents = priceCents;
    this.madeFrom = call.sentAt;
    this.paused.begin(false, call.sentAt)(call.sentAt, true);
    this.window.begin({ startsAt, endsAt }, call.sentAt)(call.sentAt, true);
  }

  /** An operator changes pause or window. @returns to be called with the end; null: no reply */
  beginSetting(
    call: Call<Extract<Question, { kind: 'pause' | 'resume' | 'move_window' }>>,
  ): (endedAt: number | null) => void {
    const { asked, sentAt } = call;
    const end =
      asked.kind === 'move_window'
        ? this.window.begin({ startsAt: asked.startsAt, endsAt: asked.endsAt }, sentAt)
        : this.paused.begin(asked.kind === 'pause', sentAt);
    return (endedAt) => (endedAt === null ? end(sentAt + OPEN_CHANGE_ENDS_MS, false) : end(endedAt, true));
  }

  /** @param ends state of each change by its id, as the ledger has it at the end; undefined: it never heard of it */
  bounds(taken: readonly Taken[], ends: ReadonlyMap<string, string>): StockBounds {
    const changes = [...this.changes.values()].map((change) => {
      const { delta, from, until, told, open } = change;
      const end = told ?? ends.get(change.id);
      if (end === 'applied') return { delta, from, until, outcome: 'applied' as const };
      // It may have been carried out in an inventory that was rebuilt afterwards, without it.
      return { delta, from, until, outcome: end === 'refused' && !open ? ('refused' as const) : ('open' as const) };
    });
    return new StockBounds({ units: this.units, changes, taken });
  }

  /** checks everything that was said of the stock, by what is known now of all that was taken. */
  check(taken: readonly Taken[], ends: ReadonlyMap<string, string>, faults: FaultLog): StockViolation[] {
    const bounds = this.bounds(taken, ends);
    const byBuyer = new Map<string, Amounts>();
    if (this.cap > 0) {
      const items = Map.groupBy(taken, (item) => item.buyerId);
      for (const [buyerId, own] of items) {
        byBuyer.set(buyerId, new Amounts(own.map(({ quantity, from, until }) => ({ amount: quantity, from, until }))));
      }
    }
    const violations: StockViolation[] = [];
    for (const statement of this.statements) {
      const sentence = this.#violationOf(statement, bounds, byBuyer.get(statement.buyerId), faults);
      if (sentence === null) continue;
      const surplus =
        statement.word === 'accepted' && bounds.mostAvailable(statement.sentAt, statement.endedAt) < statement.quantity;
      violations.push({ n: statement.n, kind: surplus ? 'oversold' : 'untrue', sentence });
    }
    return violations;
  }

  #violationOf(word: Statement, bounds: StockBounds, buyer: Amounts | undefined, faults: FaultLog): string | null {
    const { sentAt, endedAt, quantity, number } = word;
    const least = bounds.leastAvailable(sentAt, endedAt);
    const most = bounds.mostAvailable(sentAt, endedAt);
    const between = (value: number, low: number, high: number): string | null =>
      value >= low && value <= high ? null : `${word.word} says ${value}, and it can only have been ${low} to ${high}`;
    switch (word.word) {
      case 'accepted':
        if (most < quantity) return `${quantity} accepted, and at most ${most} were left`;
        return this.#closedReason(word) ?? between(number, least, most - quantity);
      case 'replayed':
        return between(number, least, most);
      case 'SOLD_OUT':
        return least > 0 ? `SOLD_OUT, and at least ${least} were available all the time` : null;
      case 'NOT_ENOUGH_UNITS':
        if (number < 1 || number >= quantity)
          return `NOT_ENOUGH_UNITS: ${number} are left, and ${quantity} were wanted`;
        return between(number, least, most);
      case 'BUYER_LIMIT': {
        if (this.cap === 0) return 'BUYER_LIMIT in a sale without a cap';
        if (number + quantity <= this.cap) return `BUYER_LIMIT: holds ${number}, wants ${quantity}, may ${this.cap}`;
        return between(number, buyer?.least(sentAt) ?? 0, buyer?.most(endedAt) ?? 0);
      }
      case 'SALE_PAUSED':
        return this.paused.possible(sentAt, endedAt).includes(true) ? null : 'SALE_PAUSED, and nobody had paused it';
      case 'SALE_ENDED':
        return this.#windows(word).some((window) => window.endsAt <= endedAt + CLOCK_SLACK_MS)
          ? null
          : 'SALE_ENDED, and no window of it was over';
      case 'SALE_NOT_OPEN':
        return this.#windows(word).some((window) => window.startsAt > sentAt - CLOCK_SLACK_MS)
          ? null
          : 'SALE_NOT_OPEN, and every window of it had begun';
      case 'SALE_NOT_FOUND':
        return this.madeUntil <= sentAt ? 'SALE_NOT_FOUND, and it was made' : null;
      case 'SALE_RECOVERING':
        return this.madeUntil <= sentAt && !faults.redisEndedBetween(this.madeFrom, endedAt)
          ? 'SALE_RECOVERING, and Redis was never ended since it was made'
          : null;
      case 'UNITS_PROMISED':
        return quantity < 0 && least + quantity >= 0
          ? `UNITS_PROMISED, and at least ${least} of ${-quantity} were available all the time`
          : between(number, least, most);
      case 'page':
      case 'numbers':
        return between(number, least, most) ?? this.#allotmentViolation(word, bounds);
      default:
        return null;
    }
  }

  #allotmentViolation({ allotment, sentAt, endedAt }: Statement, bounds: StockBounds): string | null {
    if (allotment === undefined) return null;
    const [low, high] = [bounds.leastAllotment(sentAt, endedAt), bounds.mostAllotment(sentAt, endedAt)];
    return allotment >= low && allotment <= high
      ? null
      : `allotment ${allotment}, and it can only be ${low} to ${high}`;
  }

  #windows({ sentAt, endedAt }: Statement): { startsAt: number; endsAt: number }[] {
    return this.window.possible(sentAt, endedAt);
  }

  /** Why nothing can have been accepted at that time. */
  #closedReason(word: Statement): string | null {
    const { sentAt, endedAt } = word;
    if (!this.paused.possible(sentAt, endedAt).includes(false)) return 'accepted, and it was paused all the time';
    const wasOpen = this.#windows(word).some(
      (window) => window.startsAt <= endedAt + CLOCK_SLACK_MS && window.endsAt >= sentAt - CLOCK_SLACK_MS,
    );
    return wasOpen ? null : 'accepted, and no window of it was open';
  }
}

/**
 * A sale: its settings over time, changes of stock, and statements about its stock. They are
 * checked at the end, when the outcome of unanswered calls is known.
 */
import type { QuestionOf } from './calls.ts';
import type { FaultLog } from './fault-log.ts';
import { type Amount, least, most, Setting, StockBounds } from './intervals.ts';

/** ms after which an operator's change without a reply is applied, or never will be. */
const OPEN_CHANGE_ENDS_MS = 60_000;

/** ms by which two clocks of one machine may differ about the start of a sale. */
const CLOCK_SLACK_MS = 100;

/** What a reply says about the sale's stock or settings. */
export interface Statement {
  readonly n: number;
  readonly word: string;
  readonly sentAt: number;
  readonly endedAt: number;
  readonly buyerId: string;
  readonly quantity: number;
  /** Units in the reply: available, remaining or held. */
  readonly number: number;
  /** If the reply names it. */
  readonly allotment?: number;
}

export interface Change {
  readonly id: string;
  readonly delta: number;
  readonly from: number;
  until: number;
  /** The final reply to the operator. */
  told: 'applied' | 'refused' | null;
  /** Some request for it was not answered. */
  open: boolean;
}

export interface Taken extends Amount {
  readonly buyerId: string;
}

export interface StockViolation {
  readonly n: number;
  readonly kind: 'oversold' | 'untrue';
  readonly sentence: string;
}

export class SaleRecord {
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

  constructor({ units, cap, priceCents, startsAt, endsAt }: QuestionOf<'make_sale'>, sentAt: number) {
    this.units = units;
    this.cap = cap;
    this.priceCents = priceCents;
    this.madeFrom = sentAt;
    this.paused.begin(false, sentAt)(sentAt, true);
    this.window.begin({ startsAt, endsAt }, sentAt)(sentAt, true);
  }

  /** An operator changes pause or window. @returns to be called with the end; null: no reply */
  beginSetting(
    asked: QuestionOf<'pause' | 'resume' | 'move_window'>,
    sentAt: number,
  ): (endedAt: number | null) => void {
    const end =
      asked.kind === 'move_window'
        ? this.window.begin({ startsAt: asked.startsAt, endsAt: asked.endsAt }, sentAt)
        : this.paused.begin(asked.kind === 'pause', sentAt);
    return (endedAt) => (endedAt === null ? end(sentAt + OPEN_CHANGE_ENDS_MS, false) : end(endedAt, true));
  }

  /** Checks every statement about the stock, by all that is known of it now. */
  check(taken: readonly Taken[], ends: ReadonlyMap<string, string>, faults: FaultLog): StockViolation[] {
    const changes = [...this.changes.values()].flatMap(({ id, delta: quantity, from, until, told, open }): Amount[] => {
      // The ledger's state, or undefined if it has no such change.
      const end = told ?? ends.get(id);
      if (end === 'applied') return [{ quantity, from, until }];
      // It may have been applied in an inventory that was rebuilt afterwards, without it.
      return end === 'refused' && !open ? [] : [{ quantity, from, until: Number.POSITIVE_INFINITY }];
    });
    const bounds = new StockBounds({ units: this.units, changes, taken });
    const byBuyer = Map.groupBy(taken, ({ buyerId }) => buyerId);
    return this.statements.flatMap((statement): StockViolation[] => {
      const { n, word, sentAt, endedAt, quantity, buyerId } = statement;
      const sentence = this.#violationOf(statement, bounds, byBuyer.get(buyerId) ?? [], faults);
      if (sentence === null) return [];
      const surplus = word === 'accepted' && bounds.mostAvailable(sentAt, endedAt) < quantity;
      return [{ n, kind: surplus ? 'oversold' : 'untrue', sentence }];
    });
  }

  #violationOf(word: Statement, bounds: StockBounds, ofBuyer: readonly Amount[], faults: FaultLog): string | null {
    const { sentAt, endedAt, quantity, number } = word;
    const low = bounds.leastAvailable(sentAt, endedAt);
    const high = bounds.mostAvailable(sentAt, endedAt);
    const between = (from: number, to: number): string | null =>
      number >= from && number <= to ? null : `${word.word} says ${number}, and it can only have been ${from} to ${to}`;
    switch (word.word) {
      case 'accepted':
        if (high < quantity) return `${quantity} accepted, and at most ${high} were left`;
        return this.#closedReason(word) ?? between(low, high - quantity);
      case 'replayed':
        return between(low, high);
      case 'SOLD_OUT':
        return low > 0 ? `SOLD_OUT, and at least ${low} were available all the time` : null;
      case 'NOT_ENOUGH_UNITS':
        if (number < 1 || number >= quantity)
          return `NOT_ENOUGH_UNITS: ${number} are left, and ${quantity} were wanted`;
        return between(low, high);
      case 'BUYER_LIMIT': {
        if (this.cap === 0) return 'BUYER_LIMIT in a sale without a cap';
        if (number + quantity <= this.cap) return `BUYER_LIMIT: holds ${number}, wants ${quantity}, may ${this.cap}`;
        return between(least(ofBuyer, sentAt), most(ofBuyer, endedAt));
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
        return quantity < 0 && low + quantity >= 0
          ? `UNITS_PROMISED, and at least ${low} of ${-quantity} were available all the time`
          : between(low, high);
      case 'page':
      case 'numbers':
        return between(low, high) ?? this.#allotmentViolation(word, bounds);
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

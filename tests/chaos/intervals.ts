/** Bounds instead of points: what may and what must have been so at some time, from changes that each happened at an unknown instant. */

/** A change of a setting; it happened (or, where it is not certain, may have happened) from `from` to `until`. */
interface SettingChange<Value> {
  readonly value: Value;
  readonly from: number;
  until: number;
  certain: boolean;
}

/** A setting that operators change, for example the pause of a sale. */
export class Setting<Value> {
  readonly #changes: SettingChange<Value>[] = [];

  /** It was requested at `from`. @returns to be called with its end: it was in force at `until` at the latest */
  begin(value: Value, from: number): (until: number, certain: boolean) => void {
    const change: SettingChange<Value> = { value, from, until: Number.POSITIVE_INFINITY, certain: false };
    this.#changes.push(change);
    return (until, certain) => {
      change.until = until;
      change.certain = certain;
    };
  }

  /** Every value that can have been in force at some instant between `from` and `until`. */
  possible(from: number, until: number): Value[] {
    return this.#changes
      .filter((change) => change.from <= until && !this.#isOverBefore(change, from))
      .map((change) => change.value);
  }

  /** A later change, begun when this one was done, was itself done before `time`. */
  #isOverBefore(change: SettingChange<Value>, time: number): boolean {
    return this.#changes.some(
      (later) => later !== change && later.certain && later.from >= change.until && later.until <= time,
    );
  }
}

/** Amounts that were each added at some instant of an interval. */
export class Amounts {
  #begun: { at: number; sum: number }[] = [];
  #done: { at: number; sum: number }[] = [];

  constructor(items: readonly { readonly amount: number; readonly from: number; readonly until: number }[]) {
    this.#begun = sums(items.map(({ amount, from }) => ({ amount, at: from })));
    this.#done = sums(items.map(({ amount, until }) => ({ amount, at: until })));
  }

  /** Greatest sum that can have been there at `time`. */
  most(time: number): number {
    return sumUpTo(this.#begun, time);
  }

  /** Least sum that must have been there at `time`. */
  least(time: number): number {
    return sumUpTo(this.#done, time);
  }
}

function sums(items: { amount: number; at: number }[]): { at: number; sum: number }[] {
  let sum = 0;
  return items
    .filter((item) => item.at !== Number.POSITIVE_INFINITY)
    .sort((a, b) => a.at - b.at)
    .map(({ amount, at }) => {
      sum += amount;
      return { at, sum };
    });
}

function sumUpTo(list: readonly { at: number; sum: number }[], time: number): number {
  let [low, high] = [0, list.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((list[middle] as { at: number }).at <= time) low = middle + 1;
    else high = middle;
  }
  return low === 0 ? 0 : (list[low - 1] as { sum: number }).sum;
}

/**
 * Stock of one sale. Added units are there between the asking and the answer; withdrawn ones are gone then. Orders only take.
 */
export class StockBounds {
  readonly #added: Amounts;
  readonly #withdrawnAtMost: Amounts;
  readonly #withdrawnAtLeast: Amounts;
  readonly #taken: Amounts;
  readonly #units: number;

  constructor(facts: {
    units: number;
    /** `outcome` open: it is not known whether the inventory ever did it, and it may have done it for a while. */
    changes: readonly { delta: number; from: number; until: number; outcome: 'applied' | 'refused' | 'open' }[];
    taken: readonly { quantity: number; from: number; until: number }[];
  }) {
    const never = Number.POSITIVE_INFINITY;
    const items = facts.changes.filter((change) => change.outcome !== 'refused');
    const until = (change: { outcome: string; until: number }) => (change.outcome === 'applied' ? change.until : never);
    this.#units = facts.units;
    this.#added = new Amounts(
      items
        .filter((change) => change.delta > 0)
        .map((change) => ({ amount: change.delta, from: change.from, until: until(change) })),
    );
    const withdrawn = items.filter((change) => change.delta < 0);
    this.#withdrawnAtMost = new Amounts(
      withdrawn.map((change) => ({ amount: -change.delta, from: change.from, until: never })),
    );
    this.#withdrawnAtLeast = new Amounts(
      withdrawn.map((change) => ({ amount: -change.delta, from: never, until: until(change) })),
    );
    this.#taken = new Amounts(
      facts.taken.map(({ quantity, from, until: by }) => ({ amount: quantity, from, until: by })),
    );
  }

  /** Fewest units that can have been given to the sale at every instant between the two. */
  leastAllotment(from: number, until: number): number {
    return this.#units + this.#added.least(from) - this.#withdrawnAtMost.most(until);
  }

  mostAllotment(from: number, until: number): number {
    return this.#units + this.#added.most(until) - this.#withdrawnAtLeast.least(from);
  }

  /** At every instant between the two at least this many units were available. */
  leastAvailable(from: number, until: number): number {
    return this.leastAllotment(from, until) - this.#taken.most(until);
  }

  /** At no instant between the two were more than this many units available. */
  mostAvailable(from: number, until: number): number {
    return this.mostAllotment(from, until) - this.#taken.least(from);
  }
}

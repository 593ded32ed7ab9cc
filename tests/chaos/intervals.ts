/** Bounds on what was so at a time, from changes that each happened at an unknown instant. */

/** It happened from `from` to `until`; if it is not certain, perhaps never. */
interface SettingChange<Value> {
  readonly value: Value;
  readonly from: number;
  until: number;
  certain: boolean;
}

/** A setting that operators change, for example the pause of a sale. */
export class Setting<Value> {
  readonly #changes: SettingChange<Value>[] = [];

  /** It was requested at `from`. @returns to be called when it was in force at the latest */
  begin(value: Value, from: number): (until: number, certain: boolean) => void {
    const change: SettingChange<Value> = { value, from, until: Number.POSITIVE_INFINITY, certain: false };
    this.#changes.push(change);
    return (until, certain) => Object.assign(change, { until, certain });
  }

  /** Every value that can have been in force at some instant between `from` and `until`. */
  possible(from: number, until: number): Value[] {
    // A change is over if a later one, begun when this one was done, was itself done before.
    const isOver = (change: SettingChange<Value>): boolean =>
      this.#changes.some(
        (later) => later.certain && later.from >= change.until && later.until <= from && later !== change,
      );
    return this.#changes.filter((change) => change.from <= until && !isOver(change)).map(({ value }) => value);
  }
}

/** Units added or taken at some time from `from` to `until`; Infinity: perhaps never. */
export interface Amount {
  readonly quantity: number;
  readonly from: number;
  readonly until: number;
}

const sumOf = (amounts: readonly Amount[], counts: (amount: Amount) => boolean): number =>
  amounts.reduce((sum, amount) => (counts(amount) ? sum + amount.quantity : sum), 0);

/** Greatest sum that can have been there at `time`. */
export const most = (amounts: readonly Amount[], time: number): number => sumOf(amounts, ({ from }) => from <= time);

/** Least sum that must have been there at `time`. */
export const least = (amounts: readonly Amount[], time: number): number => sumOf(amounts, ({ until }) => until <= time);

/**
 * Stock of one sale. Added units are there between request and reply; withdrawn ones are gone then.
 * Orders only take.
 */
export class StockBounds {
  readonly #units: number;
  readonly #added: readonly Amount[];
  readonly #withdrawn: readonly Amount[];
  readonly #taken: readonly Amount[];

  constructor(facts: {
    readonly units: number;
    /** Deltas. Infinity: it is not known whether the inventory ever applied it, or for how long. */
    readonly changes: readonly Amount[];
    readonly taken: readonly Amount[];
  }) {
    this.#units = facts.units;
    this.#added = facts.changes.filter(({ quantity }) => quantity > 0);
    this.#withdrawn = facts.changes
      .filter(({ quantity }) => quantity < 0)
      .map((change) => ({ ...change, quantity: -change.quantity }));
    this.#taken = facts.taken;
  }

  /** Fewest units that the sale can have had at every instant between the two. */
  leastAllotment(from: number, until: number): number {
    return this.#units + least(this.#added, from) - most(this.#withdrawn, until);
  }

  mostAllotment(from: number, until: number): number {
    return this.#units + most(this.#added, until) - least(this.#withdrawn, from);
  }

  /** At every instant between the two at least this many units were available. */
  leastAvailable(from: number, until: number): number {
    return this.leastAllotment(from, until) - most(this.#taken, until);
  }

  /** At no instant between the two were more than this many units available. */
  mostAvailable(from: number, until: number): number {
    return this.mostAllotment(from, until) - least(this.#taken, from);
  }
}

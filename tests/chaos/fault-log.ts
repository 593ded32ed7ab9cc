/**
 * Which faults were on when, and which replies they excuse: a 503 is right while a target that it
 * names is degraded, and for a stated time afterwards.
 */

/** redis, postgres, api-1, worker-2, or a connection between two: api-1>redis. */
export type TargetName = string;

export interface FaultTime {
  readonly target: TargetName;
  readonly kind: string;
  readonly from: number;
  /** Infinity while it is on. */
  until: number;
}

/** ms after a fault in which replies may still name it: connections and inventories recover. */
const GRACE_MS = { default: 5_000, SALE_RECOVERING: 10_000, STOCK_CHANGE_PENDING: 10_000 } as const;

/** Faults that no client notices. */
const WITHOUT_EXCUSE = new Set(['flush_scripts', 'clock_step']);

export class FaultLog {
  readonly entries: FaultTime[] = [];
  readonly #workers: readonly string[];

  constructor(workers: readonly string[]) {
    this.#workers = workers;
  }

  /** @returns to be called with the time at which the target works again */
  begin(target: TargetName, kind: string, from: number): (until: number) => void {
    const fault: FaultTime = { target, kind, from, until: Number.POSITIVE_INFINITY };
    this.entries.push(fault);
    return (until) => {
      fault.until = Math.min(fault.until, until);
    };
  }

  /** Whether a fault is, or was a moment ago, on a target that the reply names. */
  excuses(code: string, api: string, isOperators: boolean, sentAt: number, endedAt: number): boolean {
    // Any worker rebuilds an inventory: another degraded one is no excuse.
    if (code === 'SALE_RECOVERING') return sentAt <= this.workingSince(endedAt) + GRACE_MS.SALE_RECOVERING;
    const grace = code in GRACE_MS ? GRACE_MS[code as keyof typeof GRACE_MS] : GRACE_MS.default;
    const concerned = concernedTargets(code, api, isOperators);
    return this.entries.some(
      (fault) =>
        fault.from <= endedAt &&
        fault.until + grace >= sentAt &&
        !WITHOUT_EXCUSE.has(fault.kind) &&
        concerned.test(fault.target),
    );
  }

  /**
   * Since when, at `time`, Redis, PostgreSQL and one worker had no fault: all that it takes to end
   * orders and rebuild inventories. Infinity if they have one now.
   */
  workingSince(time: number): number {
    return Math.min(
      ...this.#workers.map((worker) => {
        const needed = new RegExp(`^(machine|redis|postgres|${worker}(>.+)?)$`);
        let since = Number.NEGATIVE_INFINITY;
        for (const { target, kind, from, until } of this.entries) {
          if (from > time || WITHOUT_EXCUSE.has(kind) || !needed.test(target)) continue;
          since = Math.max(since, until > time ? Number.POSITIVE_INFINITY : until);
        }
        return since;
      }),
    );
  }

  /** ms between the two in which the target, or the whole machine, was frozen. */
  stoodStill(target: TargetName, sentAt: number, endedAt: number): number {
    return (
      this.#overlap(sentAt, endedAt, (fault) => fault.target === target && ['stop', 'kill'].includes(fault.kind)) +
      this.#overlap(sentAt, endedAt, (fault) => fault.target === 'machine')
    );
  }

  /** Whether the process was dead or starting between the two, or just before. */
  wasKilled(target: TargetName, sentAt: number, endedAt: number): boolean {
    const slack = 1_000;
    return this.entries.some(
      (fault) =>
        fault.target === target &&
        fault.kind === 'kill' &&
        fault.from <= endedAt + slack &&
        fault.until + slack >= sentAt,
    );
  }

  redisWasEmptiedAfter(time: number): boolean {
    return this.entries.some((fault) => fault.kind === 'lose_redis' && fault.until >= time);
  }

  redisEndedBetween(from: number, until: number): boolean {
    return this.entries.some(
      (fault) =>
        fault.target === 'redis' &&
        ['kill', 'restart_redis', 'lose_redis'].includes(fault.kind) &&
        fault.until >= from &&
        fault.from <= until,
    );
  }

  #overlap(from: number, until: number, counts: (fault: FaultTime) => boolean): number {
    let sum = 0;
    for (const fault of this.entries) {
      if (fault.from < until && fault.until > from && counts(fault)) {
        sum += Math.min(fault.until, until) - Math.max(fault.from, from);
      }
    }
    return sum;
  }
}

/** Targets whose faults a reply with this code can name. */
function concernedTargets(code: string, api: string, isOperators: boolean): RegExp {
  switch (code) {
    case 'INVENTORY_UNAVAILABLE':
    case 'OUTCOME_UNKNOWN':
      return new RegExp(`^(machine|redis|${api}|${api}>redis)$`);
    case 'LEDGER_UNAVAILABLE':
      // A process frozen in a transaction locks a sale's row, for which an operator's change waits.
      return isOperators
        ? /^(machine|postgres|api-\d+|worker-\d+|.+>postgres|worker-\d+>redis|redis)$/
        : new RegExp(`^(machine|postgres|${api}|${api}>postgres)$`);
    default:
      return /./;
  }
}

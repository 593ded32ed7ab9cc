/**
 * One deadline for all that a request asks of the parts, one after the other: each command has a timeout of its own, and their sum is longer
 * than a request may wait. What comes too late is left to itself; so only for what reads.
 */
import { type Dependency, NoAnswerInTimeError } from './errors.ts';

export interface Deadline {
  /**
   * @param share of the time that is left which this one may take
   * @throws NoAnswerInTimeError once it is used up
   */
  within<Result>(part: Dependency, ask: () => Promise<Result>, share?: number): Promise<Result>;
}

/** @param budgetMs milliseconds from now */
export function startDeadline(budgetMs: number): Deadline {
  const endsAt = performance.now() + budgetMs;
  return {
    within(part, ask, share = 1) {
      const ms = Math.max(endsAt - performance.now(), 0) * share;
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new NoAnswerInTimeError(part)), ms);
        ask()
          .then(resolve, reject)
          .finally(() => clearTimeout(timer));
      });
    },
  };
}

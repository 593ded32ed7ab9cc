/**
 * One deadline for all reads that a request makes, one after the other: each has a timeout of its
 * own, and their sum is longer than a request may wait. A late read is abandoned, not cancelled, so
 * use it only for reads.
 */
import { DeadlineExceededError, type Dependency } from './errors.ts';

export interface Deadline {
  /**
   * @param share of the remaining time that this read may take, 0 to 1
   * @throws DeadlineExceededError once it is used up
   */
  within<Result>(dependency: Dependency, read: () => Promise<Result>, share?: number): Promise<Result>;
}

/** @param budgetMs milliseconds from now */
export function startDeadline(budgetMs: number): Deadline {
  const endsAt = performance.now() + budgetMs;
  return {
    within(dependency, read, share = 1) {
      const ms = Math.max(endsAt - performance.now(), 0) * share;
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new DeadlineExceededError(dependency)), ms);
        read()
          .then(resolve, reject)
          .finally(() => clearTimeout(timer));
      });
    },
  };
}

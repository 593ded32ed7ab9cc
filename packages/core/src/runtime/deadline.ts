/**
 * One deadline for all reads that a request makes, one after the other: each has a timeout of its
 * own, and their sum is longer than a request may wait. A late read is abandoned, not cancelled, so
 * use it only for reads.
 */
import { type Dependency, DependencyUnavailableError } from './errors.ts';

/** @param budgetMs milliseconds from now */
export function startDeadline(budgetMs: number) {
  const endsAt = performance.now() + budgetMs;
  return {
    /**
     * @param share of the remaining time that this read may take, 0 to 1
     * @throws DependencyUnavailableError once it is used up
     */
    within<Result>(dependency: Dependency, read: () => Promise<Result>, share = 1): Promise<Result> {
      const ms = Math.max(endsAt - performance.now(), 0) * share;
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new DependencyUnavailableError(dependency, true)), ms);
        read()
          .then(resolve, reject)
          .finally(() => clearTimeout(timer));
      });
    },
  };
}

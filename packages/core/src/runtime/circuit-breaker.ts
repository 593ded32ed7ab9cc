/**
 * A circuit breaker for each part that can be away: once several calls in a row failed because it does not answer, further ones are refused
 * at once instead of waiting for their timeout, and now and then one is let through to see whether it is back.
 */
import CircuitBreaker from 'opossum';
import type { Logger } from 'pino';
import { BREAKER_FAILURES_MIN, BREAKER_RETRY_MS, BREAKER_WINDOW_MS } from '../config/limits.ts';
import { type Dependency, DependencyUnavailableError, isSilent } from './errors.ts';

export type BreakerState = 'closed' | 'open' | 'half_open';

export interface Breaker {
  readonly part: Dependency;
  /** closed: calls go through. open: they are refused. half_open: one is on trial. */
  state(): BreakerState;
  /** @throws DependencyUnavailableError where the call was not made */
  call<Result>(work: () => Promise<Result>): Promise<Result>;
  close(): void;
}

export function createBreaker(part: Dependency, log: Pick<Logger, 'warn' | 'info'>): Breaker {
  const circuit = new CircuitBreaker((work: () => Promise<unknown>) => work(), {
    name: part,
    // Every call has a timeout of its own.
    timeout: false,
    rollingCountTimeout: BREAKER_WINDOW_MS,
    volumeThreshold: BREAKER_FAILURES_MIN,
    errorThresholdPercentage: 50,
    resetTimeout: BREAKER_RETRY_MS,
    // A refusal, or a fault of another kind, is an answer: the part is there.
    errorFilter: (error: unknown) => !isSilent(error, part),
  });
  let away = false;
  circuit.on('open', () => {
    if (!away) log.warn({ part }, 'the breaker is open: calls are refused until the part answers again');
    away = true;
  });
  circuit.on('close', () => {
    if (away) log.info({ part }, 'the breaker is closed: the part answers again');
    away = false;
  });
  return {
    part,
    state: () => (circuit.halfOpen ? 'half_open' : circuit.opened ? 'open' : 'closed'),
    async call<Result>(work: () => Promise<Result>): Promise<Result> {
      try {
        return (await circuit.fire(work)) as Result;
      } catch (error) {
        throw (error as { code?: string }).code === 'EOPENBREAKER' ? new DependencyUnavailableError(part) : error;
      }
    },
    close: () => circuit.shutdown(),
  };
}

/** The same object, with each of its methods behind the breaker. */
export function behindBreaker<Part extends object>(breaker: Breaker, part: Part): Part {
  const guarded = Object.entries(part).map(([name, value]) => [
    name,
    typeof value === 'function' ? (...args: unknown[]) => breaker.call(() => value(...args)) : value,
  ]);
  return Object.fromEntries(guarded) as Part;
}

/**
 * A circuit breaker for each dependency. It opens if half of the calls of the last seconds failed.
 * Open, it refuses calls at once instead of letting each wait for its timeout, and lets one through
 * now and then to find out whether the dependency is back.
 */
import CircuitBreaker from 'opossum';
import type { Logger } from 'pino';
import { type Dependency, DependencyUnavailableError, isSilent } from './errors.ts';

/** Calls within BREAKER_WINDOW_MS below which a breaker stays closed. */
const BREAKER_CALLS_MIN = 5;

/** Milliseconds over which a breaker counts; half of the calls must fail. */
const BREAKER_WINDOW_MS = 5_000;

/** Milliseconds until an open breaker lets one call through. */
const BREAKER_RETRY_MS = 500;

export type Breaker = ReturnType<typeof createBreaker>;

export function createBreaker(dependency: Dependency, log: Pick<Logger, 'warn' | 'info'>) {
  const circuit = new CircuitBreaker((work: () => Promise<unknown>) => work(), {
    name: dependency,
    // Every call has a timeout of its own.
    timeout: false,
    rollingCountTimeout: BREAKER_WINDOW_MS,
    volumeThreshold: BREAKER_CALLS_MIN,
    errorThresholdPercentage: 50,
    resetTimeout: BREAKER_RETRY_MS,
    // A refusal is an answer: the dependency is there.
    errorFilter: (error: unknown) => !isSilent(error, dependency),
  });
  // Each failed trial opens it again; one line an outage is enough.
  let reported = false;
  circuit.on('open', () => {
    if (!reported) log.warn({ dependency }, 'the breaker is open: calls are refused until the dependency answers');
    reported = true;
  });
  circuit.on('close', () => {
    if (reported) log.info({ dependency }, 'the breaker is closed: the dependency answers again');
    reported = false;
  });
  return {
    dependency,
    /** closed: calls go through. open: they are refused. half_open: one is on trial. */
    state: (): 'closed' | 'open' | 'half_open' => (circuit.halfOpen ? 'half_open' : circuit.opened ? 'open' : 'closed'),
    /** @throws DependencyUnavailableError if the call was not made */
    async call<Result>(work: () => Promise<Result>): Promise<Result> {
      try {
        return (await circuit.fire(work)) as Result;
      } catch (error) {
        throw (error as { code?: string }).code === 'EOPENBREAKER' ? new DependencyUnavailableError(dependency) : error;
      }
    },
    close: (): void => circuit.shutdown(),
  };
}

/** The same object, with each of its methods behind the breaker. */
export function behindBreaker<Target extends object>(breaker: Pick<Breaker, 'call'>, target: Target): Target {
  const guarded = Object.entries(target).map(([name, value]) => [
    name,
    typeof value === 'function' ? (...args: unknown[]) => breaker.call(() => value(...args)) : value,
  ]);
  return Object.fromEntries(guarded) as Target;
}

/** Runs a repair repeatedly, one run at a time. */
import { unavailableDependency } from '@flash-sale/core/runtime/errors.ts';
import type { Logger } from 'pino';

/** A sale is recent for this many ms after its end: every run visits it, and it has metrics. */
export const RECENT_SALE_MS = 86_400_000;

/**
 * @param intervalMs milliseconds between the end of one run and the start of the next
 * @param allEvery n: every nth run, and a run after an outage, visits all sales; the others visit
 * recent ones
 */
export function createLoop(options: {
  name: string;
  intervalMs: number;
  allEvery?: number;
  runOnce: (all: boolean) => Promise<void>;
  log: Logger;
}) {
  const { name, intervalMs, allEvery = 1, runOnce, log } = options;
  let timer: NodeJS.Timeout | undefined;
  let current: Promise<void> = Promise.resolve();
  let runs = 0;
  let stopped = false;
  let failing = false;
  /** The last run missed sales: Redis or PostgreSQL was unavailable. */
  let afterOutage = false;

  async function run(): Promise<void> {
    const all = afterOutage || runs % allEvery === 0;
    runs += 1;
    try {
      await runOnce(all);
      if (failing) log.info({ loop: name }, 'the loop works again');
      failing = false;
      afterOutage = false;
    } catch (error) {
      // One line when it begins to fail, not one for every run.
      if (!failing) log.error({ loop: name, err: (error as Error).message }, 'the loop fails and keeps retrying');
      failing = true;
      afterOutage = unavailableDependency(error) !== null;
    }
    if (!stopped) timer = setTimeout(() => (current = run()), intervalMs);
  }

  return {
    start(): void {
      current = run();
    },
    /** Resolves when the run in progress is done. */
    async stop(): Promise<void> {
      stopped = true;
      clearTimeout(timer);
      await current;
    },
  };
}

/**
 * Calls `work` for each item, in this order and `atOnce` at a time. A failure does not stop the
 * others.
 *
 * @throws at the end: an error that means an outage if there was one, otherwise the first error
 */
export async function forEach<Item>(
  items: Iterable<Item>,
  work: (item: Item) => Promise<unknown>,
  atOnce = 1,
): Promise<void> {
  const errors: unknown[] = [];
  const left = items[Symbol.iterator]();
  async function workOn(): Promise<void> {
    for (let next = left.next(); !next.done; next = left.next())
      await work(next.value).catch((error: unknown) => errors.push(error));
  }
  await Promise.all(Array.from({ length: atOnce }, workOn));
  if (errors.length > 0) throw errors.find((error) => unavailableDependency(error) !== null) ?? errors[0];
}

/** Runs a repair again and again, never twice at the same time. */
import { unavailableDependency } from '@flash-sale/core/runtime/errors.ts';
import type { Logger } from 'pino';

/** Milliseconds after its end that every turn visits a sale, and that it has metrics. */
export const RECENT_SALE_MS = 86_400_000;

/**
 * @param intervalMs milliseconds between the end of one turn and the start of the next
 * @param allEvery turns of which one visits all sales; the others visit recent ones,
 * except after an outage
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
  let turn: Promise<void> = Promise.resolve();
  let turns = 0;
  let stopped = false;
  let failing = false;
  /** The last turn missed sales: Redis or PostgreSQL was unavailable. */
  let afterOutage = false;

  async function run(): Promise<void> {
    const all = afterOutage || turns % allEvery === 0;
    turns += 1;
    try {
      await runOnce(all);
      if (failing) log.info({ loop: name }, 'the loop works again');
      failing = false;
      afterOutage = false;
    } catch (error) {
      // One line when it begins to fail, not one for every turn.
      if (!failing) log.error({ loop: name, err: (error as Error).message }, 'the loop fails; it goes on trying');
      failing = true;
      afterOutage = unavailableDependency(error) !== null;
    }
    if (!stopped) timer = setTimeout(() => (turn = run()), intervalMs);
  }

  return {
    start(): void {
      turn = run();
    },
    /** Resolves when the turn in progress is done. */
    async stop(): Promise<void> {
      stopped = true;
      clearTimeout(timer);
      await turn;
    },
  };
}

/**
 * Works on each item in turn: one that fails does not keep the others waiting.
 *
 * @throws at the end: an error of an outage if there was one, else the first error
 */
export async function forEach<Item>(items: Iterable<Item>, work: (item: Item) => Promise<unknown>): Promise<void> {
  const errors: unknown[] = [];
  for (const item of items) await work(item).catch((error: unknown) => errors.push(error));
  if (errors.length > 0) throw errors.find((error) => unavailableDependency(error) !== null) ?? errors[0];
}

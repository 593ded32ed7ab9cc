/** Runs a repair again and again, never twice at the same time. */
import type { Logger } from 'pino';

export interface Loop {
  start(): void;
  /** Resolves when the turn under way is done. */
  stop(): Promise<void>;
}

/** @param intervalMs milliseconds between the end of one turn and the beginning of the next */
export function createLoop(options: {
  name: string;
  intervalMs: number;
  runOnce: () => Promise<void>;
  log: Logger;
}): Loop {
  const { name, intervalMs, runOnce, log } = options;
  let timer: NodeJS.Timeout | undefined;
  let turn: Promise<void> = Promise.resolve();
  let stopped = false;
  let failing = false;

  async function run(): Promise<void> {
    try {
      await runOnce();
      if (failing) log.info({ loop: name }, 'the loop works again');
      failing = false;
    } catch (error) {
      // One line as it begins to fail, not one for every turn.
      if (!failing)
        log.error({ loop: name, err: (error as Error).message }, 'the loop cannot do its work; it goes on trying');
      failing = true;
    }
    if (!stopped) timer = setTimeout(() => (turn = run()), intervalMs);
  }

  return {
    start() {
      turn = run();
    },
    async stop() {
      stopped = true;
      clearTimeout(timer);
      await turn;
    },
  };
}

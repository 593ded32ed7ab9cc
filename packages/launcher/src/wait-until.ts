/** Waiting for a server of our own to answer. */
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { KeptProcess } from './keep-process.ts';

const LOOK_EVERY_MS = 25;

/**
 * Resolves once `check` does, after somebody listens on the port; the process is then marked ready.
 *
 * @param check throws while it is not ready; called once the port is open
 * @throws Error when the process gives up, or the time is over, with the last reason
 */
export async function waitUntilReady(
  kept: KeptProcess,
  port: number,
  timeoutMs: number,
  check: (remainingMs: number) => Promise<unknown>,
  signal?: AbortSignal,
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  let over = false;
  const answered = (async () => {
    while (!over && !(await isListening(port))) {
      if (Date.now() >= deadline) throw new Error(`${kept.name} does not listen on port ${port}. Log: ${kept.logFile}`);
      await sleep(LOOK_EVERY_MS);
    }
    if (!over) await check(Math.max(deadline - Date.now(), 1_000));
  })();
  answered.catch(() => {});
  try {
    // `ready` does not resolve before markReady() below, but it rejects when the process ends for good.
    await unlessAborted(Promise.race([answered, kept.ready]), signal);
    kept.markReady();
  } finally {
    over = true;
  }
}

/** The work's own outcome, or the signal's reason as soon as it is raised; the work itself goes on unseen. */
export async function unlessAborted<Result>(work: Promise<Result>, signal: AbortSignal | undefined): Promise<Result> {
  if (signal === undefined) return work;
  const gone = new AbortController();
  try {
    const aborted = new Promise<never>((_, reject) => {
      const fail = () => reject(signal.reason);
      if (signal.aborted) fail();
      else signal.addEventListener('abort', fail, { once: true, signal: gone.signal });
    });
    return await Promise.race([work, aborted]);
  } finally {
    gone.abort();
    work.catch(() => {});
  }
}

function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

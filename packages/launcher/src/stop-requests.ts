/**
 * Turns signals into stop requests, and repeated requests into a forced stop.
 *
 * One Ctrl-C arrives several times: the terminal signals the whole foreground group, and npm and
 * run.mjs forward their signals. So signals close together count as one request. A third request,
 * or one well after the first, forces the stop.
 */
import type { EventEmitter } from 'node:events';

/** Milliseconds within which signals count as one request. */
const SAME_REQUEST_MS = 500;
/** Milliseconds after the first request from which another one forces the stop. */
const PATIENCE_MS = 3_000;
const REQUESTS_THAT_FORCE = 3;

export interface StopHandlers {
  readonly onStop: (reason: string) => void;
  readonly onForce: () => void;
  /** Monotonic clock, ms; for tests. */
  readonly now?: () => number;
}

/**
 * @param source a process: emits SIGINT, SIGTERM, SIGHUP, and 'disconnect' when its parent has
 * ended
 */
export function listenForStop(source: EventEmitter, { onStop, onForce, now = () => performance.now() }: StopHandlers) {
  let first: number | undefined;
  let last = 0;
  let requests = 0;
  const request = (reason: string) => {
    const time = now();
    const isRepeated = first !== undefined && time - last < SAME_REQUEST_MS;
    last = time;
    if (isRepeated) return;
    requests += 1;
    if (first === undefined) {
      first = time;
      onStop(reason);
    } else if (requests >= REQUESTS_THAT_FORCE || time - first > PATIENCE_MS) onForce();
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) source.on(signal, () => request(signal));
  source.once('disconnect', () => {
    if (first === undefined) request('npm is gone');
  });
}

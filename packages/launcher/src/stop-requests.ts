/**
 * When a person or a supervisor wants us to stop, and when they insist.
 *
 * One Ctrl-C arrives several times: the terminal signals its whole foreground group, and npm and bootstrap.mjs pass on
 * what they receive. Signals close together are therefore one request. A third request, or one well after the first, forces.
 */
import type { EventEmitter } from 'node:events';

/** Milliseconds: signals with less between them are one request. */
const SAME_REQUEST_MS = 500;
/** Milliseconds: a request this long after the first one forces. */
const PATIENCE_MS = 3_000;
const REQUESTS_THAT_FORCE = 3;

export interface StopHandlers {
  readonly onStop: (reason: string) => void;
  readonly onForce: () => void;
  /** Milliseconds, rising; for tests. */
  readonly now?: () => number;
}

/** @param source a process: emits SIGINT, SIGTERM, SIGHUP, and 'disconnect' when the process that started us is gone */
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

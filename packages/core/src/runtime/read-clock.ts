/** Another machine's clock, read over a line that takes time. */

export interface ClockReading {
  /** Milliseconds that it is ahead of this machine's; negative: behind. */
  readonly aheadMs: number;
  /** Milliseconds by which that may be wrong: half of what the answer took. */
  readonly unsureMs: number;
}

/** @param ask for its time, in ms since 1970 */
export async function readClock(ask: () => Promise<number>): Promise<ClockReading> {
  const askedAt = Date.now();
  const started = performance.now();
  const there = await ask();
  const unsureMs = (performance.now() - started) / 2;
  return { aheadMs: there - (askedAt + unsureMs), unsureMs };
}

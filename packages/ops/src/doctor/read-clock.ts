/** Compares the clock of another machine with ours. */

export interface ClockReading {
  /** Milliseconds that the other clock is ahead of ours; negative: behind. */
  readonly aheadMs: number;
  /** Milliseconds by which that may be wrong: half of the round trip. */
  readonly unsureMs: number;
}

/** @param readTime returns the other machine's time in ms since 1970 */
export async function readClock(readTime: () => Promise<number>): Promise<ClockReading> {
  // biome-ignore lint/plugin/wall-time: compared with the clock of a server
  const sentAt = Date.now();
  const started = performance.now();
  const theirs = await readTime();
  const unsureMs = (performance.now() - started) / 2;
  return { aheadMs: theirs - (sentAt + unsureMs), unsureMs };
}

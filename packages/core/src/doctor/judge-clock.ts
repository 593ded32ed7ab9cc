/** A server's clock against this machine's. */
import type { ClockReading } from '../read-clock.ts';
import { CLOCK_ASTRAY_MS, CLOCK_MS } from './bounds.ts';
import { type Finding, ok, warning, wrong } from './checks.ts';
import { milliseconds } from './words.ts';

/** By how much it is ahead or behind at the least: what the way there and back took is in its favour. */
export function judgeClock(code: 'REDIS_CLOCK' | 'POSTGRES_CLOCK', { aheadMs, unsureMs }: ClockReading): Finding {
  const off = Math.max(Math.abs(aheadMs) - unsureMs, 0);
  const found = `${milliseconds(Math.abs(aheadMs))} ${aheadMs < 0 ? 'behind' : 'ahead of'} this machine's`;
  const mend = 'chronyc tracking (or timedatectl), there and here: let both follow one time server';
  if (off > CLOCK_ASTRAY_MS) return wrong(code, found, mend);
  return off > CLOCK_MS ? warning(code, found, mend) : ok(code, found);
}

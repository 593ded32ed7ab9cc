/** A server's clock against this machine's, and the ledger's against that of Redis. */
import type { ClockReading } from '@flash-sale/core/runtime/read-clock.ts';
import { CLOCK_ASTRAY_MS, CLOCK_MS } from './bounds.ts';
import { type Finding, ok, warning, wrong } from './checks.ts';
import { milliseconds } from './words.ts';

type ClockCode = 'REDIS_CLOCK' | 'POSTGRES_CLOCK';

export function judgeClock(code: ClockCode, clock: ClockReading): Finding {
  return judge(code, clock, "this machine's");
}

/** Both may be near enough to this machine's, and yet too far apart. */
export function judgeLedgerClock(clock: ClockReading, ofRedis: readonly ClockReading[]): Finding {
  // One that is off by itself has its own finding.
  const kept = ofRedis.filter((other) => judgeClock('REDIS_CLOCK', other).outcome === 'ok');
  const apart = kept.map((other) =>
    judge(
      'POSTGRES_CLOCK',
      { aheadMs: clock.aheadMs - other.aheadMs, unsureMs: clock.unsureMs + other.unsureMs },
      'that of Redis',
    ),
  );
  const own = judgeClock('POSTGRES_CLOCK', clock);
  return [own, ...apart].find(({ outcome }) => outcome !== 'ok') ?? own;
}

/** By how much it is off at the least: what the way there and back took is in its favour. */
function judge(code: ClockCode, { aheadMs, unsureMs }: ClockReading, than: string): Finding {
  const off = Math.max(Math.abs(aheadMs) - unsureMs, 0);
  const found = `${milliseconds(Math.abs(aheadMs))} ${aheadMs < 0 ? 'behind' : 'ahead of'} ${than}`;
  const mend = 'chronyc tracking (or timedatectl), there and here: let both follow one time server';
  if (off > CLOCK_ASTRAY_MS) return wrong(code, found, mend);
  return off > CLOCK_MS ? warning(code, found, mend) : ok(code, found);
}

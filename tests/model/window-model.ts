/**
 * The global rate limiter as docs/decisions.md promises it: the orders of this second, and the part
 * of the previous second within the last 1,000 ms.
 */

import type { Permits } from '@flash-sale/core/inventory/global-rate-limiter.ts';

export interface WindowRecord {
  readonly second: number;
  readonly present: number;
  readonly previous: number;
}

export class WindowModel {
  record: WindowRecord | null = null;

  /** The record as it counts in a second. */
  private countsIn(second: number): WindowRecord {
    const age = this.record ? second - this.record.second : Number.NaN;
    // The clock was set back by a moment: the stored second continues.
    if (this.record && (age === 0 || age === -1)) return this.record;
    // Only the previous second lies within the last 1,000 ms; a second further ahead is of a clock
    // that was wrong.
    return { second, present: 0, previous: this.record && age === 1 ? this.record.present : 0 };
  }

  /** @param nowUs microseconds since 1970 */
  take(limit: number, wanted: number, nowUs: number): Permits {
    const fraction = (nowUs % 1e6) / 1e6;
    const counts = this.countsIn(Math.floor(nowUs / 1e6));
    const free = Math.max(0, Math.floor(limit - counts.present - counts.previous * (1 - fraction)));
    const granted = Math.min(wanted, free);
    const after = { ...counts, present: counts.present + granted };
    if (granted > 0) this.record = after;
    const waitMs = granted < wanted ? Math.ceil(waitOf(after, limit, fraction) * 1_000) : 0;
    const secondLeftMs = Math.floor((1 - fraction) * 1_000);
    return { granted, second: counts.second, remaining: free - granted, waitMs, secondLeftMs };
  }

  /** Unused permits go back to the second in which they were taken, while it counts. */
  giveBack(second: number, unused: number): void {
    const { record } = this;
    if (record?.second === second) this.record = { ...record, present: Math.max(0, record.present - unused) };
    else if (record?.second === second + 1)
      this.record = { ...record, previous: Math.max(0, record.previous - unused) };
  }
}

/**
 * Seconds until a permit comes free: as the previous second slides out, or when the next second
 * starts.
 */
function waitOf({ present, previous }: WindowRecord, limit: number, fraction: number): number {
  const room = limit - present - 1;
  const slides = previous > 0 && room >= 0 ? 1 - fraction - room / previous : -1;
  return slides < 0 ? 1 - fraction : slides;
}

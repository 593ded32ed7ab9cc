/**
 * The global rate limiter as docs/decisions.md promises it: permits count in slots of 20 ms, and a
 * slot counts until all of it is older than 1,020 ms.
 */

import type { Permits } from '@flash-sale/core/inventory/global-rate-limiter.ts';

const SLOT_US = 20_000;
const SLOTS = 51;

export class WindowModel {
  /** Slot → permits taken in it. */
  readonly taken = new Map<number, number>();

  /** @param nowUs microseconds since 1970 */
  take(limit: number, wanted: number, nowUs: number): Permits {
    const slot = Math.floor(nowUs / SLOT_US);
    for (const at of this.taken.keys()) if (Math.abs(at - slot) > SLOTS) this.taken.delete(at);
    const free = Math.max(0, limit - [...this.taken.values()].reduce((sum, taken) => sum + taken, 0));
    const granted = Math.min(wanted, free);
    const endOfOldest = Math.min(slot, ...this.taken.keys()) * SLOT_US + 1e6;
    if (granted > 0) this.taken.set(slot, (this.taken.get(slot) ?? 0) + granted);
    const waitMs = granted < wanted ? Math.max(1, Math.ceil((endOfOldest - nowUs) / 1_000)) : 0;
    return { granted, slot, remaining: free - granted, waitMs };
  }

  /** Unused permits go back to the slot in which they were taken, while it counts. */
  giveBack(slot: number, unused: number): void {
    const taken = this.taken.get(slot) ?? 0;
    if (taken > unused) this.taken.set(slot, taken - unused);
    else this.taken.delete(slot);
  }
}

/**
 * The system's window as docs/decisions.md promises it, in plain TypeScript: what the present second let
 * through, and the part of the second before it that still lies within the last 1,000 ms.
 */

export interface WindowRecord {
  readonly second: number;
  readonly present: number;
  readonly previous: number;
}

/** Seconds since 1970. */
export interface Instant {
  readonly second: number;
  /** 0 up to 1. */
  readonly fraction: number;
}

/** The record as it counts at an instant. */
export function recordAt(record: WindowRecord | null, { second }: Instant): WindowRecord {
  const age = record ? second - record.second : Number.NaN;
  // The clock went back by a moment: the second that was begun goes on.
  if (record && (age === 0 || age === -1)) return record;
  // Only a neighbour lies partly within the last 1,000 ms. What is older is over; what lies further ahead is from a clock that was wrong.
  return { second, present: 0, previous: record && age === 1 ? record.present : 0 };
}

/** Permits that are free at an instant: whole ones. */
export function freeAt({ present, previous }: WindowRecord, limit: number, { fraction }: Instant): number {
  return Math.max(0, Math.floor(limit - present - previous * (1 - fraction)));
}

/** Part of the second that must have passed before so many are free; infinite where that is not in this second. */
export function fractionOf({ present, previous }: WindowRecord, limit: number, free: number): number {
  const room = limit - present - free;
  if (room < 0) return Number.POSITIVE_INFINITY;
  return previous === 0 ? 0 : 1 - room / previous;
}

/** Milliseconds until one more is free: as the previous second slides out, or when the next one begins. */
export function waitAt(record: WindowRecord, limit: number, { fraction }: Instant): number {
  const next = record.previous === 0 ? 1 : Math.min(1, fractionOf(record, limit, 1));
  return Math.ceil(Math.max(0, next - fraction) * 1000);
}

/** Permits that were not used go back to the second that they were taken in, while it counts. */
export function giveBack(record: WindowRecord | null, second: number, unused: number): WindowRecord | null {
  if (record?.second === second) return { ...record, present: Math.max(0, record.present - unused) };
  if (record && record.second === second + 1) return { ...record, previous: Math.max(0, record.previous - unused) };
  return record;
}

/**
 * Named crash points between the receipt of a request and a final state, so that a test can kill
 * the process at each. Every Lua script, ledger transaction and queue call publishes when it begins
 * and when it is done: none can be forgotten. docs/architecture.md lists what a crash at each
 * leaves, and what repairs it. Without a subscriber, as in production, a failpoint costs one check
 * of a flag.
 */
import { channel } from 'node:diagnostics_channel';

/** Name of the diagnostics channel; a message is a failpoint, such as "reserve:done". */
export const FAILPOINT_CHANNEL = 'flash-sale.failpoint';

/** Failpoints that are neither a script nor a transaction: `begins` and `done`. */
export const OTHER_FAILPOINTS = [
  /** A well-formed order was received; nothing was called yet. */
  'receive-order:begins',
  /** Its units are reserved and it waits to be enqueued; the reply is not written. */
  'receive-order:done',
  'add-jobs:begins',
  'add-jobs:done',
  /** A worker has the job and has not begun. */
  'take-job:begins',
  /** The orders are confirmed; BullMQ does not know it yet. */
  'take-job:done',
] as const;

/**
 * Ledger transactions, each with the failpoints `begins`, `commits` (nothing is committed yet) and
 * `done`.
 */
export const TRANSACTIONS = [
  'confirm-orders',
  'reject-orders',
  'create-sale',
  'pause-sale',
  'resume-sale',
  'change-window',
  'begin-stock-change',
  'finish-stock-change',
  'mark-synced',
  'begin-epoch',
  'finish-epoch',
] as const;

export type Transaction = (typeof TRANSACTIONS)[number];

const failpoints = channel(FAILPOINT_CHANNEL);

/** Publishes that this failpoint is reached. */
export function failpoint(of: string, state: 'begins' | 'commits' | 'done'): void {
  if (failpoints.hasSubscribers) failpoints.publish(`${of}:${state}`);
}

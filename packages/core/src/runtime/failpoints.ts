/**
 * Every step between the receipt of a request and a terminal state has a name, so that a test can end the process just there.
 * The steps are said where they cannot be passed by: each Lua script, each transaction of the ledger and each call of the queue
 * tells that it begins and that it is done. docs/architecture.md says what a crash at each leaves, and who mends it.
 * Nobody listens in production: then a step costs one look at a flag.
 */
import { channel } from 'node:diagnostics_channel';

/** Name of the diagnostics channel; a message is a step's name, for example "reserve:done". */
export const FAILPOINT_CHANNEL = 'flash-sale.failpoint';

/** Steps that are neither a script nor a transaction. `begins` stands before the deed, `done` after it. */
export const OTHER_FAILPOINTS = [
  /** A well-formed order was received, and nobody was asked yet. */
  'receive-order:begins',
  /** Its units are taken and it waits for the enqueue; the reply is not written. */
  'receive-order:done',
  'add-jobs:begins',
  'add-jobs:done',
  /** A worker has the job and has done nothing about it. */
  'take-job:begins',
  /** All is done, and the queue does not know it. */
  'take-job:done',
] as const;

/** The ledger's transactions, each with the steps `begins`, `commits` (nothing is committed yet) and `done`. */
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

/** Says that this step is reached. */
export function failpoint(of: string, state: 'begins' | 'commits' | 'done'): void {
  if (failpoints.hasSubscribers) failpoints.publish(`${of}:${state}`);
}

/** Every step of packages/core/src/steps.ts, and which process reaches it: what the crash tests are made from. */
import { loadLuaScripts } from '@flash-sale/core/redis/lua-script.ts';
import { OTHER_STEPS, TRANSACTIONS } from '@flash-sale/core/steps.ts';

export type Service = 'api' | 'worker';

/** Scripts and transactions by the processes that carry them out. */
const REACHED_BY: Readonly<Record<string, readonly Service[]>> = {
  // Scripts.
  'take-permits': ['api'],
  'return-permits': ['api'],
  reserve: ['api'],
  'read-sale': ['api'],
  'open-sale': ['api', 'worker'],
  'configure-sale': ['api', 'worker'],
  'adjust-stock': ['api', 'worker'],
  settle: ['worker'],
  release: ['worker'],
  'claim-strands': ['worker'],
  'count-hand-overs': ['worker'],
  'lower-hand-overs': ['worker'],
  'point-key': ['worker'],
  'adopt-orders': ['worker'],
  'check-gate': ['worker'],
  'close-gate': ['worker'],
  'drop-reservations': ['worker'],
  'restore-fields': ['worker'],
  'restore-unsettled': ['worker'],
  'open-gate': ['worker'],
  // Transactions.
  'create-sale': ['api'],
  'pause-sale': ['api'],
  'resume-sale': ['api'],
  'change-window': ['api'],
  'begin-stock-change': ['api'],
  'finish-stock-change': ['api', 'worker'],
  'mark-carried': ['api', 'worker'],
  'confirm-orders': ['worker'],
  'reject-orders': ['worker'],
  'begin-epoch': ['worker'],
  'finish-epoch': ['worker'],
  // Others.
  'receive-order': ['api'],
  'add-jobs': ['api', 'worker'],
  'take-job': ['worker'],
};

export interface CrashPoint {
  readonly step: string;
  readonly service: Service;
}

/** @throws Error where the code has a step that the table does not know, or the other way round */
export function crashPoints(): CrashPoint[] {
  const steps = [
    ...loadLuaScripts().flatMap(({ name }) => [`${name}:begins`, `${name}:done`]),
    ...TRANSACTIONS.flatMap((name) => [`${name}:begins`, `${name}:commits`, `${name}:done`]),
    ...OTHER_STEPS,
  ];
  const known = new Set(steps.map((step) => step.split(':')[0] as string));
  const missing = [...known].filter((name) => !(name in REACHED_BY));
  const gone = Object.keys(REACHED_BY).filter((name) => !known.has(name));
  if (missing.length > 0) throw new Error(`tests/crash/steps-table.ts does not say who reaches: ${missing.join(', ')}`);
  if (gone.length > 0) throw new Error(`tests/crash/steps-table.ts knows steps that are none: ${gone.join(', ')}`);
  return steps.flatMap((step) =>
    (REACHED_BY[step.split(':')[0] as string] as readonly Service[]).map((service) => ({ step, service })),
  );
}

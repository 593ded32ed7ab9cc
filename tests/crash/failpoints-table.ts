/**
 * Every step of packages/core/src/runtime/failpoints.ts, and which process reaches it. The crash
 * tests are made from it.
 */
import { loadLuaScripts } from '@flash-sale/core/inventory/lua-script.ts';
import { OTHER_FAILPOINTS, TRANSACTIONS } from '@flash-sale/core/runtime/failpoints.ts';

export type Service = 'api' | 'worker';

/** Scripts and transactions by the processes that carry them out. */
const REACHED_BY: Readonly<Record<string, readonly Service[]>> = {
  // Scripts.
  'take-permits': ['api'],
  'return-permits': ['api'],
  reserve: ['api'],
  'read-numbers': ['api'],
  'create-inventory': ['api', 'worker'],
  'configure-sale': ['api', 'worker'],
  'adjust-stock': ['api', 'worker'],
  commit: ['worker'],
  release: ['worker'],
  'claim-orphans': ['worker'],
  'count-redeliveries': ['worker'],
  'point-key': ['worker'],
  readmit: ['worker'],
  'check-inventory': ['worker'],
  'close-inventory': ['worker'],
  'rebuild-write': ['worker'],
  'reopen-inventory': ['worker'],
  // Transactions.
  'create-sale': ['api'],
  'pause-sale': ['api'],
  'resume-sale': ['api'],
  'change-window': ['api'],
  'begin-stock-change': ['api'],
  'finish-stock-change': ['api', 'worker'],
  'mark-synced': ['api', 'worker'],
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

/** A step of every order is met under load, in the middle of other work: not at its first time. */
export function timesAt(step: string): number {
  return /^(reserve|commit|take-job|confirm-orders|add-jobs|receive-order|take-permits|check-inventory):/.test(step)
    ? 5
    : 1;
}

export type Server = 'redis' | 'postgres';

/** At which of a step's states the server is killed, or a sentence that says why at none. */
type Fate = readonly ('begins' | 'commits' | 'done')[] | string;

const WINDOW = 'Counts the orders of a second for the limit of the whole system, which nobody is promised.';
const READS = 'It reads.';
const REBUILD =
  'Between close-inventory and reopen-inventory: whatever it wrote, the rebuilding is begun again in a higher epoch.';
const CARRIED = 'Carries what the ledger has, and is repeated until the ledger knows that the inventory has it.';
const COUNTS =
  "Counts redeliveries, by which an order is rejected after eight: one more or less changes nobody's order.";
const OPERATOR =
  'One change of one row by an operator: it is there or it is not, and an operator who was not answered reads the sale.';

/**
 * Where each server is killed: Redis at scripts and at calls of the queue, PostgreSQL at
 * transactions. When a transaction begins, nothing was sent to PostgreSQL yet; it is only
 * unavailable then (postgres-unavailable.test.ts).
 */
const KILLED_AT: Readonly<Record<Server, Readonly<Record<string, Fate>>>> = {
  redis: {
    'take-permits': WINDOW,
    'return-permits': WINDOW,
    reserve: ['begins', 'done'],
    'read-numbers': READS,
    'create-inventory': CARRIED,
    'configure-sale': CARRIED,
    'adjust-stock': ['done'],
    commit: ['begins', 'done'],
    release: ['begins', 'done'],
    'claim-orphans': 'Sets the time of the next look at a orphan: a lost one is a look that comes earlier.',
    'count-redeliveries': COUNTS,
    'point-key': ['begins'],
    readmit: ['begins', 'done'],
    'check-inventory': READS,
    'close-inventory': ['begins', 'done'],
    'rebuild-write': REBUILD,
    'reopen-inventory': ['begins', 'done'],
    'receive-order': 'Before reserve:begins, and after reserve:done: nothing is asked of Redis in between.',
    'add-jobs': ['done'],
    'take-job': ['done'],
  },
  postgres: {
    'create-sale': OPERATOR,
    'pause-sale': OPERATOR,
    'resume-sale': OPERATOR,
    'change-window': OPERATOR,
    'begin-stock-change': OPERATOR,
    'finish-stock-change': ['commits', 'done'],
    'mark-synced': CARRIED,
    'confirm-orders': ['commits', 'done'],
    'reject-orders': ['commits', 'done'],
    'begin-epoch': ['commits', 'done'],
    'finish-epoch': ['commits', 'done'],
  },
};

/** Names of the steps, by the server that is asked to do something in them. */
function stepsOf(server: Server): string[] {
  if (server === 'postgres') return [...TRANSACTIONS];
  return [...loadLuaScripts().map(({ name }) => name), ...OTHER_FAILPOINTS.map((step) => step.split(':')[0] as string)];
}

/** @throws if code and table do not have the same steps of the server */
export function serverCrashPoints(
  server: Server,
  table: Readonly<Record<string, Fate>> = KILLED_AT[server],
): CrashPoint[] {
  compare(new Set(stepsOf(server)), table, `where ${server} is killed, or why not`);
  const steps = Object.entries(table).flatMap(([name, fate]) =>
    typeof fate === 'string' ? [] : fate.map((state) => `${name}:${state}`),
  );
  const points = crashPoints();
  const unreached = steps.filter((step) => !points.some((point) => point.step === step));
  if (unreached.length > 0)
    throw new Error(`tests/crash/failpoints-table.ts knows steps that are none: ${unreached.join(', ')}`);
  return points.filter(({ step }) => steps.includes(step));
}

function compare(known: ReadonlySet<string>, table: Readonly<Record<string, unknown>>, what: string): void {
  const missing = [...known].filter((name) => !(name in table));
  const gone = Object.keys(table).filter((name) => !known.has(name));
  if (missing.length > 0)
    throw new Error(`tests/crash/failpoints-table.ts does not say ${what}: ${missing.join(', ')}`);
  if (gone.length > 0) throw new Error(`tests/crash/failpoints-table.ts knows steps that are none: ${gone.join(', ')}`);
}

/** @throws Error where the code has a step that the table does not know, or the other way round */
export function crashPoints(): CrashPoint[] {
  const steps = [
    ...loadLuaScripts().flatMap(({ name }) => [`${name}:begins`, `${name}:done`]),
    ...TRANSACTIONS.flatMap((name) => [`${name}:begins`, `${name}:commits`, `${name}:done`]),
    ...OTHER_FAILPOINTS,
  ];
  compare(new Set(steps.map((step) => step.split(':')[0] as string)), REACHED_BY, 'who reaches');
  return steps.flatMap((step) =>
    (REACHED_BY[step.split(':')[0] as string] as readonly Service[]).map((service) => ({ step, service })),
  );
}

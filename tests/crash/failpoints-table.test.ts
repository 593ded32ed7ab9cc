/** The table of crash points has every script and transaction of the code. */
import { expect, test } from 'vitest';
import { crashPoints, type Server, serverCrashPoints } from './failpoints-table.ts';

test('it says of every step who reaches it', () => {
  expect(crashPoints().length).toBeGreaterThan(70);
});

test.each(['redis', 'postgres'] as const)(
  'it says of every step of %s whether it is killed there, or why not',
  (server: Server) => {
    expect(serverCrashPoints(server).length).toBeGreaterThan(9);
    expect(() => serverCrashPoints(server, {})).toThrow(/does not say where .* is killed, or why not: \w+/);
  },
);

test('it knows no step that is none', () => {
  const table = Object.fromEntries(
    ['create-sale', 'pause-sale', 'resume-sale', 'change-window', 'begin-stock-change'].map((name) => [name, 'why']),
  );
  const all = {
    ...table,
    'finish-stock-change': 'why',
    'mark-synced': 'why',
    'confirm-orders': ['done'],
    'reject-orders': 'why',
    'begin-epoch': 'why',
    'finish-epoch': 'why',
  } as const;
  expect(serverCrashPoints('postgres', all)).toEqual([{ step: 'confirm-orders:done', service: 'worker' }]);
  expect(() => serverCrashPoints('postgres', { ...all, 'of-nobody': 'why' })).toThrow(/steps that are none: of-nobody/);
});

/** Where a connection leads, and which sentinel's answer counts. */
import { expect, test } from 'vitest';
import { isElsewhere, leadsTo } from './named-master.ts';

test.each([
  ['the address itself', '127.0.0.1', 6379, true],
  ['another address with the same port', '127.0.0.2', 6379, false],
  ['a name that leads there', 'localhost', 6379, true],
  ['a name that leads there, another port', 'localhost', 6380, false],
])('a connection to 127.0.0.1:6379 and %s', async (_, host, port, leads) => {
  expect(await leadsTo({ remoteAddress: '127.0.0.1', remotePort: 6379 }, { host, port })).toBe(leads);
});

test('of two servers with one port, a connection leads to the one with its address', async () => {
  const toOld = { remoteAddress: '127.0.0.2', remotePort: 6379 };
  expect(await leadsTo(toOld, { host: 'localhost', port: 6379 })).toBe(false);
});

test('a name that cannot be looked up is an error', async () => {
  const connection = { remoteAddress: '127.0.0.1', remotePort: 6379 };
  await expect(leadsTo(connection, { host: 'nowhere.invalid', port: 6379 })).rejects.toThrow('nowhere.invalid');
});

test.each([
  ['no sentinel answers', [], false],
  [
    'the newest answer names another server',
    [
      [2, false],
      [1, true],
    ],
    true,
  ],
  [
    'a sentinel does not know of the failover yet',
    [
      [1, false],
      [2, true],
    ],
    false,
  ],
  [
    'none may read its epoch, and one names this server',
    [
      [0, false],
      [0, true],
    ],
    false,
  ],
  [
    'none may read its epoch, and all name another server',
    [
      [0, false],
      [0, false],
    ],
    true,
  ],
] as [string, [number, boolean][], boolean][])('whether the master is elsewhere: %s', (_, answers, elsewhere) => {
  expect(isElsewhere(answers.map(([epoch, leads]) => ({ epoch, leads })))).toBe(elsewhere);
});

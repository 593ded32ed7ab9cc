/** Which dependency an error came from, by the messages and codes of the client libraries. */
import { expect, test } from 'vitest';
import {
  DependencyUnavailableError,
  isAboutTheOrder,
  isRowLocked,
  isSilent,
  nothingHappenedInRedis,
  unavailableDependency,
} from './errors.ts';

const fault = (message: string, code?: string) => Object.assign(new Error(message), code === undefined ? {} : { code });

test.each([
  ['redis', true, fault('Command timed out')],
  ['redis', true, fault('Connection is closed.')],
  ['redis', false, fault('OOM command not allowed when used memory > maxmemory')],
  ['redis', false, fault('LOADING Redis is loading the dataset in memory')],
  ['redis', false, fault('Too many Cluster redirections. Last error: ReplyError: TRYAGAIN Multiple keys request')],
  ['redis', true, fault('Too many Cluster redirections')],
  ['redis', true, fault('All sentinels are unreachable and retry is disabled.')],
  ['postgres', true, fault('connect ECONNREFUSED', 'ECONNREFUSED')],
  ['postgres', true, fault('write EPIPE', 'EPIPE')],
  ['postgres', true, fault('connect ENETUNREACH', 'ENETUNREACH')],
  ['postgres', true, fault('connect EMFILE', 'EMFILE')],
  ['postgres', true, Object.assign(new Error('getaddrinfo'), { syscall: 'getaddrinfo' })],
  ['postgres', true, new AggregateError([new Error('timeout'), fault('connect EHOSTDOWN', 'EHOSTDOWN')], 'two hosts')],
  ['postgres', true, fault('Query read timeout')],
  ['postgres', true, fault('the database system is starting up', '57P03')],
  ['postgres', true, fault('canceling statement due to statement timeout', '57014')],
  ['postgres', false, fault('canceling statement due to lock timeout', '55P03')],
  ['postgres', false, fault('deadlock detected', '40P01')],
  ['postgres', false, fault('could not extend file', '53100')],
] as const)('%s is unavailable; silent: %s: %s', (dependency, silent, error) => {
  expect(unavailableDependency(error)).toBe(dependency);
  expect(isSilent(error, dependency)).toBe(silent);
  expect(isSilent(error, dependency === 'redis' ? 'postgres' : 'redis')).toBe(false);
  expect(isAboutTheOrder(error)).toBe(false);
});

test('a call that a breaker refused was not made, and names the dependency', () => {
  expect(unavailableDependency(new DependencyUnavailableError('redis'))).toBe('redis');
  expect(nothingHappenedInRedis(new DependencyUnavailableError('redis'))).toBe(true);
  expect(nothingHappenedInRedis(new DependencyUnavailableError('postgres'))).toBe(false);
  expect(nothingHappenedInRedis(fault('Command timed out'))).toBe(false);
});

test('a moving slot and a demoted or isolated master refuse a command before it runs', () => {
  for (const message of [
    'TRYAGAIN Multiple keys request during rehashing of slot',
    'Too many Cluster redirections. Last error: ReplyError: TRYAGAIN Multiple keys request during rehashing of slot',
    'Too many Cluster redirections. Last error: ReplyError: MOVED 7 127.0.0.1:1',
    "READONLY You can't write against a read only replica. script: 1, on @user_script:1.",
    'NOREPLICAS Not enough good replicas to write. script: 1, on @user_script:1.',
  ])
    expect(nothingHappenedInRedis(fault(message))).toBe(true);
  expect(nothingHappenedInRedis(fault('Too many Cluster redirections. Last error: Error: Command timed out'))).toBe(
    false,
  );
});

test('a locked row is no outage', () => {
  expect(isRowLocked(fault('canceling statement due to lock timeout', '55P03'))).toBe(true);
});

test.each([
  [true, fault('violates check constraint', '23514')],
  [true, fault('value too long', '22001')],
  [true, fault('raised by a trigger', 'P0001')],
  [true, new TypeError('Cannot read properties of undefined')],
  [true, Object.assign(new TypeError('The argument must be a string'), { code: 'ERR_INVALID_ARG_TYPE' })],
  [false, fault('permission denied for table orders', '42501')],
  [false, fault('self-signed certificate', 'DEPTH_ZERO_SELF_SIGNED_CERT')],
  [false, fault('The server does not support SSL connections')],
  [false, fault('lua/commit.lua answered with an unknown word: x')],
])('about the order: %s: %s', (isAbout, error) => {
  expect(isAboutTheOrder(error)).toBe(isAbout);
  expect(unavailableDependency(error)).toBeNull();
});

import { expect, test } from 'vitest';
import { hostsOf, passwordsOf, readRedisAddress, withoutPassword } from './redis-address.ts';

test('the address of one server is passed to the client library', () => {
  for (const url of ['redis://127.0.0.1:6379', 'rediss://u:p@redis.example/3', 'redis://:a,b@host'])
    expect(readRedisAddress(url)).toEqual({ kind: 'server', url });
});

test('an address of a cluster has some of its nodes, and one login for all', () => {
  expect(readRedisAddress('rediss+cluster://sale:p%40ss:word@10.0.0.1:7000,node-2.example,[::1]:7002/0')).toEqual({
    kind: 'cluster',
    nodes: [
      { host: '10.0.0.1', port: 7000 },
      { host: 'node-2.example', port: 6379 },
      { host: '::1', port: 7002 },
    ],
    login: { username: 'sale', password: 'p@ss:word' },
    tls: true,
  });
  expect(readRedisAddress('redis+cluster://:secret@a:1')).toMatchObject({ login: { password: 'secret' } });
  expect(readRedisAddress('redis+cluster://a:1/')).toHaveProperty('login', {});
});

test('an address of sentinels names the master, a database and a login for the sentinels', () => {
  expect(
    readRedisAddress(
      'rediss+sentinel://sale:p%40ss@10.0.0.1:5000,s-2.example/shop.1/3?sentinel_username=look&sentinel_password=a%26b',
    ),
  ).toEqual({
    kind: 'sentinel',
    sentinels: [
      { host: '10.0.0.1', port: 5000 },
      { host: 's-2.example', port: 26_379 },
    ],
    login: { username: 'sale', password: 'p@ss' },
    sentinelLogin: { username: 'look', password: 'a&b' },
    master: 'shop.1',
    database: 3,
    tls: true,
  });
  expect(readRedisAddress('redis+sentinel://a:1/mymaster')).toMatchObject({
    login: {},
    sentinelLogin: {},
    database: 0,
    tls: false,
  });
});

test.each([
  ['several hosts without +cluster', 'redis://a:1,b:2'],
  ...['-1', '1.5', 'abc', '1/2', '1e1', '0x1', '%31', '123456'].map((database) => [
    `database ${database}`,
    `redis://a:1/${database}`,
  ]),
  ['a database in the options', 'redis://a:1?db=3'],
  ['another option of ioredis', 'redis://a:1/0?keyPrefix=x'],
  ['a port of one server above 65535', 'redis://a:70000'],
  ['another database', 'redis+cluster://a:1/2'],
  ['a port above 65535', 'redis+cluster://a:1,b:70000'],
  ['port 0', 'redis+cluster://a:1,b:0'],
  ['an empty port', 'redis+sentinel://a:/m'],
  ['a host with an invalid character', 'redis+cluster://a!b:1'],
  ['an encoded host', 'redis+sentinel://a%20b:1/m'],
  ['an invalid IPv6 address', 'redis+cluster://[1::2::3]:1'],
  ['an empty node', 'redis+cluster://a:1,,b:2'],
  ['no node', 'redis+cluster://u:p@'],
  ['a password with invalid encoding', 'redis+cluster://u:%zz@a:1'],
  ['options', 'redis+cluster://a:1?tls=1'],
  ['sentinels without a master', 'redis+sentinel://a:1'],
  ['sentinels with an empty name', 'redis+sentinel://a:1/'],
  ['an invalid database', 'redis+sentinel://a:1/m/x'],
  ['another option of sentinels', 'redis+sentinel://a:1/m?password=x'],
  ['another scheme', 'http://a:1'],
])('%s: not an address', (_, url) => expect(readRedisAddress(url)).toBeNull());

test('the address that is shown has no password', () => {
  expect(withoutPassword('redis+cluster://u:secret@a:1,[::1]:2')).toBe('redis+cluster://a:1,[::1]:2');
  expect(withoutPassword('redis://u:secret@a:1/2')).toBe('redis://u:***@a:1/2');
  expect(withoutPassword('rediss+sentinel://u:secret@a:1,b:2/m?sentinel_password=secret')).toBe(
    'rediss+sentinel://a:1,b:2/m/0',
  );
  expect(hostsOf('redis+sentinel://u:secret@a/m')).toBe('a:26379');
  expect(hostsOf('redis+cluster://u:secret@a:1,b:2')).toBe('a:1,b:2');
  expect(hostsOf('redis://u:secret@a:1/2')).toBe('a:1');
});

test('every password in an address is found', () => {
  expect(passwordsOf('redis://u:p%40ss@a:1')).toEqual(['p@ss']);
  expect(passwordsOf('redis+cluster://u:one@a:1')).toEqual(['one']);
  expect(passwordsOf('redis+sentinel://u:one@a:1/m?sentinel_password=two')).toEqual(['one', 'two']);
  expect(passwordsOf('postgres://u:three@a/b')).toEqual(['three']);
  expect(passwordsOf('redis://a:1')).toEqual([]);
});

test('ca_file names the CA of servers with TLS, and is not passed to the client library', () => {
  expect(readRedisAddress('rediss://:pw@h:1/2?ca_file=%2Fetc%2Fca.pem&family=6')).toEqual({
    kind: 'server',
    url: 'rediss://:pw@h:1/2?family=6',
    caFile: '/etc/ca.pem',
  });
  expect(readRedisAddress('rediss+cluster://a:1,b:2?ca_file=/ca.pem')).toMatchObject({ tls: true, caFile: '/ca.pem' });
  expect(readRedisAddress('rediss+sentinel://a:1,b:2/m?ca_file=/ca@1.pem&sentinel_password=x@y')).toMatchObject({
    tls: true,
    caFile: '/ca@1.pem',
    sentinelLogin: { password: 'x@y' },
  });
  for (const url of ['redis://a:1?ca_file=/ca.pem', 'redis+cluster://a:1?ca_file=/ca.pem', 'rediss://a:1?ca_file='])
    expect(readRedisAddress(url), url).toBeNull();
});

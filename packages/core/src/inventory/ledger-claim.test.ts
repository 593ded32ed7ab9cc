/** A claim whose comparison is slow or fails, on a connection that only answers GET. */
import { EventEmitter } from 'node:events';
import { expect, test } from 'vitest';
import { nothingHappenedInRedis } from '../runtime/errors.ts';
import type { RedisConnection } from '../runtime/redis/connect-redis.ts';
import { createKeys } from './keys.ts';
import { claimRedis } from './ledger-claim.ts';

async function claimed(): Promise<{ redis: { get: () => Promise<string> } & EventEmitter; claim: Claim }> {
  const info = async () => 'redis_version:7.0.0\r\nmaxmemory_policy:noeviction\r\n';
  const redis = Object.assign(new EventEmitter(), { get: async () => 'own', exists: async () => 0, info, options: {} });
  const connection = { redis, name: 'one' } as unknown as RedisConnection;
  const log = { info() {}, error() {} } as never;
  return { redis, claim: await claimRedis({ connection, keys: createKeys('prefix'), ledgerId: 'own', log }) };
}
type Claim = Awaited<ReturnType<typeof claimRedis>>;

test('calls after a lost connection share one comparison', async () => {
  const { redis, claim } = await claimed();
  let reads = 0;
  redis.get = async () => {
    reads += 1;
    return 'own';
  };
  redis.emit('close');
  expect(claim.isProven()).toBe(false);
  await Promise.all(Array.from({ length: 100 }, () => claim.call(async () => {})));
  // It reads twice: is there an owner, and is it ours?
  expect(reads).toBe(2);
  expect(claim.isProven()).toBe(true);
});

test.each(['Command timed out', 'Connection is closed.', 'LOADING the dataset', 'WRONGTYPE no string'])(
  'a comparison that fails (%s) says that nothing happened',
  async (message) => {
    const { redis, claim } = await claimed();
    redis.emit('close');
    redis.get = () => Promise.reject(new Error(message));
    const failure = await claim.call(() => Promise.reject(new Error('called'))).catch((error: unknown) => error);
    expect(nothingHappenedInRedis(failure), String(failure)).toBe(true);
  },
);

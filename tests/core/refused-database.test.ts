/** A connection that Redis does not let into its database carries no command, now or later. */
import { checkRedis } from '@flash-sale/core/runtime/redis/check-redis.ts';
import { connectForRequests, connectForWork } from '@flash-sale/core/runtime/redis/connect-redis.ts';
import { Redis } from 'ioredis';
import { expect, test } from 'vitest';
import { useWorld } from '../support/fixtures.ts';
import { eventually } from '../support/world.ts';

const world = useWorld();

function urlOf(database: string, user = ''): string {
  const url = new URL(world.redisUrl);
  url.pathname = `/${database}`;
  if (user !== '') url.username = user;
  return url.href;
}

test('a database that Redis does not have is a sentence at the start', async () => {
  const error = await checkRedis(urlOf('99')).catch((fault: Error) => fault);
  expect((error as Error).message).toMatch(
    /^Redis at \S+\/99 refuses the database \(.*out of range\)\. Correct the number at the end of REDIS_URL/,
  );
});

const kinds = {
  requests: connectForRequests,
  work: connectForWork,
  "BullMQ's duplicate": connectForWork,
} as const;

test.each(Object.keys(kinds) as (keyof typeof kinds)[])(
  'a connection for %s that is refused at a reconnect sends nothing to database 0',
  async (kind) => {
    const [user, key] = [`u-${world.prefix}`, `${world.prefix}:x`];
    await world.redis.acl('SETUSER', user, 'on', `>${new URL(world.redisUrl).password}`, '~*', '&*', '+@all');
    const options = { url: urlOf('5', user), name: user, log: world.log, timeoutMs: 1_000 };
    const connection = kinds[kind](options);
    const inDatabase5 = new Redis(urlOf('5'));
    const client =
      kind === "BullMQ's duplicate" ? (connection.redis as Redis).duplicate() : (connection.redis as Redis);
    client.on('error', () => {});
    try {
      await client.connect();
      await world.redis.acl('SETUSER', user, '-select');
      await world.redis.client('KILL', 'USER', user);
      let failures = 0;
      client.on('error', () => (failures += 1));
      await eventually('it was refused twice', 10_000, () => failures >= 2);
      const written = client.set(key, 'here').catch(() => 'failed');
      expect(await world.redis.get(key), 'not in database 0').toBeNull();
      await world.redis.acl('SETUSER', user, '+select');
      await eventually('it is back', 10_000, () => client.status === 'ready');
      expect(await written).toBe(kind === 'requests' ? 'failed' : 'OK');
      await client.set(key, 'here');
      expect(await inDatabase5.getdel(key)).toBe('here');
      expect(await world.redis.get(key)).toBeNull();
    } finally {
      client.disconnect();
      inDatabase5.disconnect();
      await connection.close();
      await world.redis.acl('DELUSER', user);
    }
  },
);

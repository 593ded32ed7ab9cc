/**
 * Scripts that run while Redis is full, a little beyond maxmemory: they end accepted orders, which
 * frees memory. Without them a full Redis would stay full.
 */
import type { AnyRedis } from './open-redis.ts';

/** In front of a script. */
export const WHEN_FULL = '#!lua flags=allow-oom\n';

/**
 * Makes the scripts that BullMQ will define on a worker's connection such scripts. Those that only
 * read need it not, and would be refused whenever Redis refuses writes.
 */
export function consumeWhenFull<Client extends AnyRedis>(redis: Client): Client {
  const define = redis.defineCommand.bind(redis);
  return Object.assign(redis, {
    defineCommand: (name: string, { lua, ...given }: Parameters<typeof define>[1]) =>
      define(name, { ...given, lua: /^(get|is)/.test(name) ? lua : WHEN_FULL + lua }),
  });
}

/** Reads a hash of any size without blocking Redis. */
import { REBUILD_CHUNK } from '../config/limits.ts';
import type { AnyRedis } from '../runtime/redis/open-redis.ts';

/** @returns fields with their values, about REBUILD_CHUNK a page; a field can come twice */
export async function* hashPages(redis: AnyRedis, key: string): AsyncGenerator<[string, string][]> {
  let cursor = '0';
  do {
    const [next, flat] = await redis.hscan(key, cursor, 'COUNT', REBUILD_CHUNK);
    cursor = next;
    const page: [string, string][] = [];
    for (let i = 0; i < flat.length; i += 2) page.push([flat[i] as string, flat[i + 1] as string]);
    yield page;
  } while (cursor !== '0');
}

/** Says whether a Redis can be trusted with stock. */
import { Redis } from 'ioredis';
import { REDIS_MAJOR_MIN } from '../limits.ts';

/** A Redis is missing or unfit; the message is a sentence that says what to do. */
export class RedisUnfitError extends Error {
  override name = 'RedisUnfitError';
}

export interface RedisFacts {
  readonly version: string;
  readonly appendOnly: boolean;
}

/**
 * Connects once, looks, and hangs up.
 *
 * @param waitMs milliseconds to go on trying while nobody answers (0 = one try)
 * @throws RedisUnfitError when nobody answers, the password is wrong, Redis is too old or would evict keys
 */
export async function checkRedis(url: string, waitMs = 0): Promise<RedisFacts> {
  const deadline = Date.now() + waitMs;
  for (;;) {
    const redis = new Redis(url, {
      lazyConnect: true,
      connectTimeout: 3_000,
      commandTimeout: 3_000,
      retryStrategy: () => null,
      maxRetriesPerRequest: 0,
      autoResendUnfulfilledCommands: false,
    });
    let failure = '';
    redis.on('error', (error: Error) => {
      failure ||= error.message;
    });
    try {
      await redis.connect();
      return judge(await redis.info());
    } catch (error) {
      if (error instanceof RedisUnfitError) throw error;
      failure ||= (error as Error).message;
      const refused = /NOAUTH|WRONGPASS|NOPERM|invalid password/i.test(failure);
      const loading = /LOADING/.test(failure);
      if (refused || (Date.now() >= deadline && !loading)) throw new RedisUnfitError(absent(url, failure, refused));
    } finally {
      redis.disconnect();
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

function judge(info: string): RedisFacts {
  const field = (name: string): string => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? '';
  const version = field('redis_version');
  if (Number.parseInt(version, 10) < REDIS_MAJOR_MIN) {
    throw new RedisUnfitError(
      `Redis ${version} is too old: version ${REDIS_MAJOR_MIN} or newer is needed. Upgrade it, or set REDIS_URL to a newer one.`,
    );
  }
  const policy = field('maxmemory_policy');
  if (policy !== 'noeviction') {
    throw new RedisUnfitError(
      `Redis would throw keys away when its memory is full (maxmemory-policy ${policy}), and with them promised units. ` +
        'Set "maxmemory-policy noeviction" in its configuration, or type: redis-cli CONFIG SET maxmemory-policy noeviction',
    );
  }
  return { version, appendOnly: field('aof_enabled') === '1' };
}

function absent(url: string, failure: string, refused: boolean): string {
  const where = withoutPassword(url);
  return refused
    ? `Redis at ${where} refuses the login (${failure}). Check the user and the password in REDIS_URL.`
    : `No Redis answers at ${where} (${failure || 'no reply'}). Start it, or correct REDIS_URL.`;
}

/** An address fit to be shown: host, port and database, without the secret. */
export function withoutPassword(url: string): string {
  try {
    const parsed = new URL(url);
    if (parsed.password) parsed.password = '***';
    return parsed.href;
  } catch {
    return 'the given address';
  }
}

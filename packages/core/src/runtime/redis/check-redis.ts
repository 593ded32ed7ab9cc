/** Says whether a Redis can be trusted with stock: the server, or every master of the cluster. */

import { REDIS_MAJOR_MIN } from '../../config/limits.ts';
import { hostsOf, readRedisAddress, withoutPassword } from '../../config/redis-address.ts';
import { certificateFault } from '../certificate-error.ts';
import { type AnyRedis, connectRedis, endpointOf, mastersOf, openRedis } from './open-redis.ts';

/** A Redis is missing or unfit; the message is a sentence that says what to do. */
export class RedisUnfitError extends Error {
  override name = 'RedisUnfitError';
}

export interface RedisFacts {
  readonly version: string;
  /** Of every master. */
  readonly appendOnly: boolean;
  readonly masters: number;
}

/** Nobody answered, or not us. */
class RedisUnavailableError extends RedisUnfitError {
  /** Waiting may help. Loading: it will, and nobody knows when. */
  readonly mendsItself: 'perhaps' | 'surely' | 'no';

  constructor(sentence: string, mendsItself: 'perhaps' | 'surely' | 'no') {
    super(sentence);
    this.mendsItself = mendsItself;
  }
}

/** Milliseconds that a connection, and then an answer, may take. */
const ANSWER_MS = 3_000;

/**
 * Connects once, looks, and hangs up.
 *
 * @param waitMs milliseconds to go on trying while nobody answers (0 = one try)
 * @throws RedisUnfitError when nobody answers, the password is wrong, Redis is too old or would evict keys
 */
export async function checkRedis(url: string, waitMs = 0): Promise<RedisFacts> {
  const deadline = Date.now() + waitMs;
  for (;;) {
    try {
      return await lookAtRedis(url, ANSWER_MS, judgeAll);
    } catch (error) {
      const mends = error instanceof RedisUnavailableError ? error.mendsItself : 'no';
      if (mends === 'no' || (mends === 'perhaps' && Date.now() >= deadline)) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

/**
 * Connects for one look.
 *
 * @param timeoutMs milliseconds that the connection, and then each answer, may take
 * @throws RedisUnfitError where nobody answers, or the login is refused; or what `look` throws of its own
 */
export async function lookAtRedis<Seen>(
  url: string,
  timeoutMs: number,
  look: (redis: AnyRedis) => Promise<Seen>,
): Promise<Seen> {
  const redis = openForLook(url, timeoutMs);
  let failure = '';
  let untrusted: string | null = null;
  const note = (error: Error): void => {
    failure ||= error.message;
    untrusted ??= certificateFault(error, {
      caFile: '?ca_file=/path/ca.pem at the end of REDIS_URL',
      withoutTls: 'write redis:// in REDIS_URL',
    });
  };
  // What a node of a cluster says is more than what is made of it: that none was of use.
  redis.on('node error', note);
  // So is what one sentinel says.
  redis.on('sentinelError', note);
  redis.on('error', note);
  try {
    await connectRedis(redis);
    return await look(redis);
  } catch (error) {
    if (error instanceof RedisUnfitError) throw error;
    failure ||= (error as Error).message;
    if (untrusted !== null) throw new RedisUnfitError(`Redis at ${withoutPassword(url)} ${untrusted}`);
    const refused = /NOAUTH|WRONGPASS|NOPERM|invalid password/i.test(failure);
    const noCluster = /cluster support disabled/i.test(failure);
    // Of the sentinels, or of the library where one answers with nothing.
    const noMaster = /No such master|got an invalid reply: null/.test(failure);
    const noSentinel = /unknown command '?sentinel/i.test(failure);
    const wrong = refused || noCluster || noMaster || noSentinel;
    const mendsItself = wrong ? 'no' : /LOADING/.test(failure) ? 'surely' : 'perhaps';
    throw new RedisUnavailableError(absent(url, failure, { refused, noCluster, noMaster, noSentinel }), mendsItself);
  } finally {
    redis.disconnect();
  }
}

function openForLook(url: string, timeoutMs: number): AnyRedis {
  try {
    return openRedis(url, {
      connectTimeout: timeoutMs,
      commandTimeout: timeoutMs,
      retryStrategy: () => null,
      maxRetriesPerRequest: 0,
      autoResendUnfulfilledCommands: false,
    });
  } catch (error) {
    throw new RedisUnfitError((error as Error).message);
  }
}

async function judgeAll(redis: AnyRedis): Promise<RedisFacts> {
  const found = await Promise.all(
    mastersOf(redis).map(async (node) => {
      const { host, port } = endpointOf(node);
      return judge(await node.info(), `${host}:${port}`);
    }),
  );
  const [oldest] = found.sort((a, b) => Number.parseInt(a.version, 10) - Number.parseInt(b.version, 10));
  return {
    version: oldest?.version ?? '',
    appendOnly: found.every(({ appendOnly }) => appendOnly),
    masters: found.length,
  };
}

/** @returns '' where Redis has no such field */
export function fieldOf(info: string, name: string): string {
  return new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? '';
}

function judge(info: string, place: string): { version: string; appendOnly: boolean } {
  const field = (name: string): string => fieldOf(info, name);
  const version = field('redis_version');
  const which = field('cluster_enabled') === '1' ? ` at ${place}` : '';
  if (Number.parseInt(version, 10) < REDIS_MAJOR_MIN) {
    throw new RedisUnfitError(
      `Redis ${version}${which} is too old: version ${REDIS_MAJOR_MIN} or newer is needed. Upgrade it, or set REDIS_URL to a newer one.`,
    );
  }
  const policy = field('maxmemory_policy');
  if (policy !== 'noeviction') {
    throw new RedisUnfitError(
      `Redis${which} would throw keys away when its memory is full (maxmemory-policy ${policy}), and with them promised units. ` +
        'Set "maxmemory-policy noeviction" in its configuration, or type: redis-cli CONFIG SET maxmemory-policy noeviction',
    );
  }
  return { version, appendOnly: field('aof_enabled') === '1' };
}

function absent(
  url: string,
  failure: string,
  why: { refused: boolean; noCluster: boolean; noMaster: boolean; noSentinel: boolean },
): string {
  const where = withoutPassword(url);
  const address = readRedisAddress(url);
  if (address?.kind === 'sentinel') {
    const who = `The sentinels at ${hostsOf(url)}`;
    if (why.noMaster) return `${who} know no master "${address.master}". Correct the name at the end of REDIS_URL.`;
    if (why.noSentinel)
      return `${who} are no sentinels (${failure}). Write REDIS_URL without "+sentinel", or name sentinels.`;
    if (why.refused && failure.includes('sentinel'))
      return `${who} refuse the login (${failure}). Check ?sentinel_username=…&sentinel_password=… at the end of REDIS_URL.`;
  }
  if (why.refused)
    return `Redis at ${where} refuses the login (${failure}). Check the user and the password in REDIS_URL.`;
  if (why.noCluster)
    return `Redis at ${where} is no cluster (${failure}). Write REDIS_URL without "+cluster", or name a node of a cluster.`;
  // Redis waits in silence for the end of what it takes for a command.
  const noTls = /^rediss/.test(url) ? ', or write redis:// where it speaks no TLS' : '';
  return `No Redis answers at ${where} (${failure || 'no reply'}). Start it, or correct REDIS_URL${noTls}.`;
}

/**
 * Checks that Redis can be trusted with stock: the server, or every master of the cluster. At the
 * start, and while it is used (ledger-claim.ts): a failover or an operator may change it.
 */
import { setTimeout as sleep } from 'node:timers/promises';

import { REDIS_MAJOR_MIN } from '../../config/limits.ts';
import { hostsOf, passwordsOf, readRedisAddress, withoutPassword } from '../../config/redis-address.ts';
import { certificateFault, UnfitServerError, untilFit } from '../unfit-server.ts';
import { type AnyRedis, connectRedis, endpointOf, mastersOf, openRedis } from './open-redis.ts';

export interface RedisFacts {
  readonly version: string;
  /** True if every master writes an append-only file. */
  readonly appendOnly: boolean;
  readonly masters: number;
}

/** Milliseconds for the connection, and again for each answer. */
const ANSWER_MS = 3_000;

/**
 * @param waitMs milliseconds for which an unreachable Redis is retried (0 = one attempt)
 * @throws UnfitServerError if Redis is unreachable, refuses the login, is too old or would evict
 * keys
 */
export async function checkRedis(url: string, waitMs = 0): Promise<RedisFacts> {
  return untilFit(waitMs, () => readFromRedis(url, ANSWER_MS, checkMasters));
}

/**
 * Connects, reads and disconnects, for the check at start and for the doctor.
 *
 * @param timeoutMs milliseconds for the connection, and again for each answer
 * @throws UnfitServerError if Redis is unreachable or refuses the login; and what `read` throws
 */
export async function readFromRedis<Result>(
  url: string,
  timeoutMs: number,
  read: (redis: AnyRedis) => Promise<Result>,
): Promise<Result> {
  const redis = openOnce(url, timeoutMs);
  let failure = '';
  let untrusted: string | null = null;
  const note = (error: Error): void => {
    failure ||= error.message;
    untrusted ??= certificateFault(error, {
      caFile: '?ca_file=/path/ca.pem at the end of REDIS_URL',
      withoutTls: 'write redis:// in REDIS_URL',
    });
  };
  // An error of one node or sentinel says more than the summary that follows it.
  redis.on('node error', note);
  redis.on('sentinelError', note);
  redis.on('error', note);
  try {
    await connectRedis(redis);
    return await read(redis);
  } catch (error) {
    if (error instanceof UnfitServerError) throw error;
    if (untrusted !== null) throw new UnfitServerError(`Redis at ${withoutPassword(url)} ${untrusted}`);
    throw explain(url, failure || (error as Error).message);
  } finally {
    redis.disconnect();
  }
}

function openOnce(url: string, timeoutMs: number): AnyRedis {
  try {
    return openRedis(url, {
      connectTimeout: timeoutMs,
      commandTimeout: timeoutMs,
      retryStrategy: () => null,
      maxRetriesPerRequest: 0,
      autoResendUnfulfilledCommands: false,
    });
  } catch (error) {
    throw new UnfitServerError((error as Error).message);
  }
}

async function checkMasters(redis: AnyRedis): Promise<RedisFacts> {
  const found = await Promise.all(
    mastersOf(redis).map(async (node) => {
      const { host, port } = endpointOf(node);
      return checkMaster(await node.info(), `${host}:${port}`);
    }),
  );
  const [oldest] = found.sort((a, b) => Number.parseInt(a.version, 10) - Number.parseInt(b.version, 10));
  return {
    version: oldest?.version ?? '',
    appendOnly: found.every(({ appendOnly }) => appendOnly),
    masters: found.length,
  };
}

/** Milliseconds until a master counts as silent. */
const SILENT_MS = 500;

/**
 * Checks the masters that answer; the others are noticed by their orders.
 *
 * @throws UnfitServerError
 */
export async function checkAgain(redis: AnyRedis): Promise<void> {
  await Promise.all(
    mastersOf(redis).map(async (node) => {
      const answer = node.info().catch((error: unknown) => {
        if (isLackOfRights(error)) throw lackOfRights(error);
      });
      const info = await Promise.race([answer, sleep(SILENT_MS, undefined, { ref: false })]);
      const { host, port } = endpointOf(node);
      if (info) checkMaster(info, `${host}:${port}`);
    }),
  );
}

export const isLackOfRights = (error: unknown): error is Error => (error as Error).message.startsWith('NOPERM');

export const lackOfRights = ({ message }: Pick<Error, 'message'>): UnfitServerError =>
  unfit(
    `The user of REDIS_URL lacks a right in Redis (${message}). ` +
      'Give it the rules of docs/reference.md#redis-keys with ACL SETUSER.',
  );

const unfit = (sentence: string): UnfitServerError => new UnfitServerError(sentence, 'never', 'redis');

/** @returns the value of a field of INFO; '' if there is none */
export function fieldOf(info: string, name: string): string {
  return new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? '';
}

function checkMaster(info: string, place: string): { version: string; appendOnly: boolean } {
  const field = (name: string): string => fieldOf(info, name);
  const version = field('redis_version');
  const which = field('cluster_enabled') === '1' ? ` at ${place}` : '';
  if (Number.parseInt(version, 10) < REDIS_MAJOR_MIN) {
    throw unfit(
      `Redis ${version}${which} is too old: version ${REDIS_MAJOR_MIN} or newer is required. ` +
        'Upgrade it, or set REDIS_URL to a newer one.',
    );
  }
  const policy = field('maxmemory_policy');
  if (policy !== 'noeviction') {
    throw unfit(
      `Redis${which} would evict keys, and with them reserved units, when its memory is full (maxmemory-policy ${policy}). ` +
        'Set "maxmemory-policy noeviction" in its configuration, or run: redis-cli CONFIG SET maxmemory-policy noeviction',
    );
  }
  return { version, appendOnly: field('aof_enabled') === '1' };
}

/** @param failure what Redis, a sentinel or ioredis says */
function explain(url: string, failure: string): UnfitServerError {
  if (failure.startsWith('NOPERM')) return lackOfRights({ message: failure });
  const mistake = mistakeIn(url, failure);
  if (mistake !== null) return new UnfitServerError(mistake);
  // A Redis without TLS does not answer a TLS handshake: it waits for the rest of a command.
  const noTls = /^rediss/.test(url) ? ', or write redis:// if it does not use TLS' : '';
  return new UnfitServerError(
    `No Redis answers at ${withoutPassword(url)} (${failure || 'no reply'}). Start it, or correct REDIS_URL${noTls}.`,
    /LOADING/.test(failure) ? 'always' : 'maybe',
  );
}

/** @returns what is wrong with the address or the login; null if waiting may help */
function mistakeIn(url: string, failure: string): string | null {
  const where = withoutPassword(url);
  const address = readRedisAddress(url);
  const isRefused = /NOAUTH|WRONGPASS|NOPERM|invalid password/i.test(failure);
  if (address?.kind === 'sentinel') {
    const who = `The sentinels at ${hostsOf(url)}`;
    // By a sentinel, or by ioredis if the answer is empty.
    if (/No such master|got an invalid reply: null/.test(failure))
      return `${who} do not monitor a master "${address.master}". Correct the name at the end of REDIS_URL.`;
    if (/unknown command '?sentinel/i.test(failure))
      return `${who} are not sentinels (${failure}). Remove "+sentinel" from REDIS_URL, or name sentinels.`;
    if (isRefused && failure.includes('sentinel'))
      return `${who} refuse the login (${failure}). Check ?sentinel_username=…&sentinel_password=… at the end of REDIS_URL.`;
  }
  if (/DB index|not allowed in cluster mode|'select' command/.test(failure))
    return `Redis at ${where} refuses the database (${failure}). Correct the number at the end of REDIS_URL, or leave it out.`;
  if (/NOAUTH|WRONGPASS/.test(failure) && passwordsOf(url).length === 0)
    return `Redis at ${where} needs a password, and REDIS_URL has none. Write redis://:password@host:port`;
  if (isRefused)
    return `Redis at ${where} refuses the login (${failure}). Check the user and the password in REDIS_URL.`;
  if (/cluster support disabled/i.test(failure))
    return `Redis at ${where} is not a cluster (${failure}). Remove "+cluster" from REDIS_URL, or name a node of a cluster.`;
  return null;
}

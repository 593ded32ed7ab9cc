/**
 * Which ledger the keys under a prefix belong to. The first process writes its ledger's id; every
 * process compares it at start, after each reconnect, and before what cannot be undone. On a Redis
 * of another ledger nothing is sold, confirmed or rebuilt.
 */
import { Cluster, type Redis } from 'ioredis';
import type { Logger } from 'pino';
import type { AnyRedis } from '../runtime/redis/open-redis.ts';
import { OtherLedgerError } from '../runtime/unfit-server.ts';
import type { Keys } from './keys.ts';

/** @throws OtherLedgerError if they belong to another ledger; @param ledgerId null: it has no id */
export async function compareLedger(redis: AnyRedis, keys: Keys, ledgerId: string | null): Promise<void> {
  const owner = await redis.get(keys.ledger);
  if (owner !== null && owner !== ledgerId) throw new OtherLedgerError('redis', describe(keys, owner, ledgerId));
}

function describe(keys: Keys, owner: string, ledgerId: string | null): string {
  return (
    `REDIS_URL with this KEY_PREFIX belongs to another ledger (${owner}) than the one at DATABASE_URL ` +
    `(${ledgerId ?? 'a new one'}). Set another KEY_PREFIX, or correct REDIS_URL or DATABASE_URL. If that ledger ` +
    `is lost, restore its backup here first. If there is none, and this one takes its place, run: redis-cli -u "$REDIS_URL" DEL '${keys.ledger}'`
  );
}

/**
 * @param connections each is compared when it is ready again, and not trusted before
 * @throws OtherLedgerError, or what a connection throws
 */
export async function claimRedis(options: {
  connections: readonly AnyRedis[];
  keys: Keys;
  ledgerId: string;
  log: Logger;
}) {
  const { connections, keys, ledgerId, log } = options;
  const trusted = new Set<AnyRedis>();
  let isReported = false;

  /** An emptied Redis gets the id again. */
  async function compare(redis: AnyRedis): Promise<void> {
    try {
      if ((await redis.get(keys.ledger)) === null) await redis.set(keys.ledger, ledgerId, 'NX');
      await compareLedger(redis, keys, ledgerId);
      trusted.add(redis);
    } catch (error) {
      trusted.delete(redis);
      throw error;
    }
  }

  async function verify(): Promise<void> {
    try {
      await Promise.all(connections.map(compare));
      if (isReported) log.info('redis belongs to this ledger again');
      isReported = false;
    } catch (error) {
      if (error instanceof OtherLedgerError && !isReported) {
        log.error({ err: error.message }, 'redis belongs to another ledger: orders are neither taken nor confirmed');
        isReported = true;
      }
      throw error;
    }
  }

  await Promise.all(connections.map(compare));
  for (const redis of connections) {
    const again = (): void => void verify().catch(() => {});
    redis.on('close', () => trusted.delete(redis));
    redis.on('ready', again);
    if (redis instanceof Cluster) redis.on('+node', (node: Redis) => node.on('ready', again));
  }

  const isProven = (): boolean => trusted.size === connections.length;
  return {
    /** False from the end of a connection until it was compared again. */
    isProven,
    /** Compares now. @throws OtherLedgerError, or what a connection throws */
    verify,
    /** Runs `work` if it is proven, after comparing if it is not. */
    call: async <Result>(work: () => Promise<Result>): Promise<Result> => {
      if (!isProven()) await verify();
      return work();
    },
  };
}

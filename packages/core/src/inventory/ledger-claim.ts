/**
 * Which ledger the keys under a prefix belong to. The first process writes its ledger's id; every
 * process compares it at start, after each reconnect, and before what cannot be undone, and checks
 * the server with it. On a Redis of another ledger, or that is unfit, nothing is sold, confirmed or
 * rebuilt.
 */
import { Cluster } from 'ioredis';
import type { Logger } from 'pino';
import { DependencyUnavailableError, nothingHappenedInRedis } from '../runtime/errors.ts';
import { checkAgain, isLackOfRights, lackOfRights } from '../runtime/redis/check-redis.ts';
import type { RedisConnection } from '../runtime/redis/connect-redis.ts';
import type { AnyRedis } from '../runtime/redis/open-redis.ts';
import { OtherLedgerError, UnfitServerError } from '../runtime/unfit-server.ts';
import type { Keys } from './keys.ts';

/** @throws OtherLedgerError if they belong to another ledger; @param ledgerId null: it has no id */
export async function compareLedger(redis: AnyRedis, keys: Keys, ledgerId: string | null): Promise<void> {
  const owner = await redis.get(keys.ledger);
  if (owner !== null && owner !== ledgerId) throw new OtherLedgerError('redis', describe(keys, owner, ledgerId));
}

function describe(keys: Keys, owner: string, ledgerId: string | null): string {
  return (
    `REDIS_URL with this KEY_PREFIX belongs to another ledger (${owner}) than the one at DATABASE_URL ` +
    `(${ledgerId ?? 'a new one'}). ${otherLedgerFix(keys)}`
  );
}

export function otherLedgerFix(keys: Keys): string {
  return (
    'Set the DATABASE_URL of that system too, or another KEY_PREFIX. If its ledger is lost, restore its backup here. ' +
    `If it is given up, stop its processes first, then delete the key ${keys.ledger} from Redis.`
  );
}

/**
 * Milliseconds between two comparisons of a connection that stays open: keys can be moved under it
 * (SWAPDB, a restored file), and settings changed.
 */
const COMPARE_EVERY_MS = 1_000;

/**
 * The claim of one connection, which is compared when it is ready again, and not trusted before.
 *
 * @throws UnfitServerError, or what the connection throws
 */
export async function claimRedis(options: {
  connection: Pick<RedisConnection, 'redis' | 'name'>;
  keys: Keys;
  ledgerId: string;
  log: Logger;
}) {
  const { keys, ledgerId, log } = options;
  const { redis, name: connection } = options.connection;
  let isProven = false;
  let isReported = false;
  let comparing: Promise<void> | null = null;

  async function compare(): Promise<void> {
    try {
      // The keys of the queue have a prefix of their own, which our user may lack.
      const asked = [redis.get(keys.ledger), checkAgain(redis), redis.exists(`${keys.queuePrefix}:`)] as const;
      const [owner] = await Promise.all(asked);
      // An emptied Redis gets the id again.
      if (owner === null) await redis.set(keys.ledger, ledgerId, 'NX');
      await compareLedger(redis, keys, ledgerId);
      if (isReported) log.info({ connection }, 'redis can be used again');
      isReported = false;
      isProven = true;
    } catch (failure) {
      isProven = false;
      const error = isLackOfRights(failure) ? lackOfRights(failure) : failure;
      if (error instanceof UnfitServerError && !isReported) {
        log.error(
          { connection, err: error.message },
          'this redis cannot be used: orders are neither taken nor confirmed',
        );
        isReported = true;
      }
      throw error;
    }
  }

  function verify(): Promise<void> {
    comparing ??= compare().finally(() => {
      comparing = null;
    });
    return comparing;
  }

  function watch(node: AnyRedis): void {
    node.on('close', () => {
      isProven = false;
    });
    node.on('ready', () => void verify().catch(() => {}));
  }

  await verify();
  watch(redis);
  const timer = setInterval(() => void verify().catch(() => {}), COMPARE_EVERY_MS).unref();
  redis.on('end', () => clearInterval(timer));
  if (redis instanceof Cluster) {
    redis.nodes().forEach(watch);
    redis.on('+node', watch);
  }

  return {
    /** False from the end of a connection until it was compared again. */
    isProven: (): boolean => isProven,
    /** Compares now. @throws UnfitServerError, or what the connection throws */
    verify,
    /**
     * Runs `work` if it is proven, after comparing if it is not.
     *
     * @throws an error that says so if `work` was not run (nothingHappenedInRedis)
     */
    async call<Result>(work: () => Promise<Result>): Promise<Result> {
      if (!isProven)
        await verify().catch((error: unknown) => {
          throw nothingHappenedInRedis(error) ? error : new DependencyUnavailableError('redis');
        });
      return work();
    },
  };
}

/**
 * Warms a starting process up: it runs its own code on scratch sales, so that V8 has compiled it
 * when the first buyer comes. Nothing of it remains: the keys are in a scratch space, the ledger's
 * rows are never committed, log lines and metrics go nowhere.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Logger, pino } from 'pino';
import { connectPostgres, type Pool } from '../ledger/connect-postgres.ts';
import { neverCommit } from '../ledger/never-commit.ts';
import type { NewSale } from '../ledger/sale-store.ts';
import type { ServiceSettings } from '../run-service.ts';
import { connectForRequests } from '../runtime/redis/connect-redis.ts';
import { keepCompiledCode } from './compiled-code.ts';
import { type ScratchSpace, withScratchSpace } from './scratch-space.ts';

/** Milliseconds that a warm-up runs the code, and that it may take with all that surrounds it. */
const RUN_MS = 2_000;
const WARM_UP_MAX_MS = 3_000;

export interface Scratch<Settings = ServiceSettings> {
  /** Of the process, with the prefix of the scratch space. */
  readonly settings: Settings;
  /** Its changes are seen by itself alone. */
  readonly pool: Pool;
  /** Writes nothing. */
  readonly log: Logger;
  readonly saleIds: ScratchSpace['saleIds'];
  /** performance.now() at which to end. */
  readonly endsAt: number;
}

/**
 * Does nothing with WARM_UP=off. A failure, or one that takes too long, is a warning: the process
 * serves cold.
 */
export async function warmUp<Settings extends ServiceSettings>(
  settings: Settings,
  log: Logger,
  rehearse: (scratch: Scratch<Settings>) => Promise<void>,
): Promise<void> {
  keepCompiledCode();
  if (settings.WARM_UP === 'off') return;
  const late = sleep(WARM_UP_MAX_MS, undefined, { ref: false }).then(() => {
    throw new Error(`not done after ${WARM_UP_MAX_MS} ms`);
  });
  await Promise.race([rehearseInScratchSpace(settings, rehearse), late]).catch((error: Error) =>
    log.warn({ err: error.message }, 'the warm-up failed; the first orders take longer'),
  );
}

async function rehearseInScratchSpace<Settings extends ServiceSettings>(
  settings: Settings,
  rehearse: (scratch: Scratch<Settings>) => Promise<void>,
) {
  const log = pino({ level: 'silent' }, { write: () => {} });
  const { REDIS_URL, DATABASE_URL, KEY_PREFIX } = settings;
  const connection = connectForRequests({ url: REDIS_URL, name: 'warm-up', log, timeoutMs: WARM_UP_MAX_MS });
  const pool = connectPostgres({
    url: DATABASE_URL,
    size: 1,
    timeoutMs: WARM_UP_MAX_MS,
    name: 'flash-sale-warm-up',
    log,
  });
  neverCommit(pool);
  try {
    await connection.connect();
    await withScratchSpace({ redis: connection.redis, keyPrefix: KEY_PREFIX }, async ({ prefix, saleIds }) => {
      const endsAt = performance.now() + RUN_MS;
      await rehearse({ settings: { ...settings, KEY_PREFIX: prefix }, pool, log, saleIds, endsAt });
    });
  } finally {
    await Promise.all([connection.close(), pool.ended || pool.end()]);
  }
}

/** By any clock, all are open but the scheduled one. */
export function scratchSales(saleIds: ScratchSpace['saleIds']): NewSale[] {
  const sale = {
    name: 'Warm-up',
    description: null,
    originalPrice: '2.00',
    flashSalePrice: '1.00',
    currency: 'USD',
    units: 1_000_000,
    perBuyerLimit: 0,
    startsAt: Date.UTC(2000),
    endsAt: Date.UTC(2200),
  };
  return [
    { ...sale, id: saleIds.open },
    { ...sale, id: saleIds.capped, perBuyerLimit: 1 },
    { ...sale, id: saleIds['sold-out'], units: 1 },
    { ...sale, id: saleIds.scheduled, startsAt: Date.UTC(2100) },
  ];
}

/**
 * A world for a test file or a test: a random key prefix, and a database cloned from a migrated
 * template. Nothing else in the Redis or the PostgreSQL is touched.
 */
import { randomBytes } from 'node:crypto';
import { createKeys, type Keys } from '@flash-sale/core/inventory/keys.ts';
import { migrateLedger } from '@flash-sale/core/ledger/migrate.ts';
import { Redis } from 'ioredis';
import pg from 'pg';
import { type Logger, pino } from 'pino';

export interface World {
  readonly redisUrl: string;
  readonly databaseUrl: string;
  readonly prefix: string;
  readonly keys: Keys;
  readonly redis: Redis;
  readonly pool: pg.Pool;
  readonly log: Logger;
  /** Lines that were logged through `log`, parsed. */
  readonly lines: Record<string, unknown>[];
  /** Runs `close` before the world is closed, the last one first. */
  onClose(close: () => unknown): void;
  close(): Promise<void>;
}

interface TestServers {
  readonly redisUrl: string;
  readonly databaseUrl: string;
}

/** Servers of this test run. @throws if it was not started by the project's own command */
export function testServers(): TestServers {
  const { TEST_REDIS_URL: redisUrl, TEST_DATABASE_URL: databaseUrl } = process.env;
  if (!redisUrl || !databaseUrl) {
    throw new Error('TEST_REDIS_URL and TEST_DATABASE_URL are not set. Run the tests with: npm test');
  }
  return { redisUrl, databaseUrl };
}

/** Makes the migrated template of all worlds. @returns its name, and how to drop it */
export async function makeTemplate(
  databaseUrl = testServers().databaseUrl,
): Promise<{ name: string; drop(): Promise<void> }> {
  const name = `template_${randomBytes(6).toString('hex')}`;
  await onServer(databaseUrl, `CREATE DATABASE ${name}`);
  await migrateLedger(withDatabase(databaseUrl, name));
  return { name, drop: () => onServer(databaseUrl, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`) };
}

/** @param own servers that the test may stop and kill */
export async function openWorld(template: string, own: Partial<TestServers> = {}): Promise<World> {
  const { redisUrl, databaseUrl: serverUrl } = { ...testServers(), ...own };
  const id = randomBytes(6).toString('hex');
  const database = `world_${id}`;
  await onServer(serverUrl, `CREATE DATABASE ${database} TEMPLATE ${template}`);
  const databaseUrl = withDatabase(serverUrl, database);
  const prefix = `test-${id}`;
  const redis = new Redis(redisUrl, { maxRetriesPerRequest: 2 });
  redis.on('error', () => {});
  const pool = new pg.Pool({ connectionString: databaseUrl, max: 12 });
  // A test may kill this server while a connection is handed out.
  pool.on('connect', (client) => client.on('error', () => {}));
  pool.on('error', () => {});
  const lines: Record<string, unknown>[] = [];
  const closers: (() => unknown)[] = [];
  const log = pino(
    { level: 'debug' },
    {
      write: (text: string) =>
        void lines.push(
          ...text
            .trimEnd()
            .split('\n')
            .map((line) => JSON.parse(line)),
        ),
    },
  );
  return {
    redisUrl,
    databaseUrl,
    prefix,
    keys: createKeys(prefix),
    redis,
    pool,
    log,
    lines,
    onClose: (close) => void closers.push(close),
    async close() {
      for (const close of closers.toReversed()) await close();
      await pool.end();
      await removeKeys(redis, prefix);
      redis.disconnect();
      await onServer(serverUrl, `DROP DATABASE IF EXISTS ${database} WITH (FORCE)`);
    },
  };
}

async function removeKeys(redis: Redis, prefix: string): Promise<void> {
  for (const pattern of [`${prefix}:*`, `{${prefix}}:*`]) {
    for await (const keys of redis.scanStream({ match: pattern, count: 1_000 })) {
      if ((keys as string[]).length > 0) await redis.unlink(...(keys as string[]));
    }
  }
}

async function onServer(url: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}

function withDatabase(url: string, name: string): string {
  const changed = new URL(url);
  changed.pathname = `/${name}`;
  return changed.href;
}

/** Asks until the answer is true. @throws after `withinMs`, naming the condition */
export async function eventually(what: string, withinMs: number, ask: () => Promise<boolean> | boolean): Promise<void> {
  const deadline = Date.now() + withinMs;
  while (!(await ask())) {
    if (Date.now() > deadline) throw new Error(`not within ${withinMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

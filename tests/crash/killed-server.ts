/**
 * Kills a server at the moment that a service reaches a failpoint, under load, and starts it again:
 * once for each failpoint of a list. The same API and worker live through all of it. The test files
 * check what is promised afterwards.
 */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createInventory } from '@flash-sale/core/inventory/inventory.ts';
import { startPrivatePostgres } from '@flash-sale/launcher/private-postgres.ts';
import { startPrivateRedis } from '@flash-sale/launcher/private-redis.ts';
import { ownFolder, type PrivateServer } from '@flash-sale/launcher/private-server.ts';
import { type AuditOptions, auditSales } from '@flash-sale/ops/audit/audit-sale.ts';
import { listFaults } from '../support/list-faults.ts';
import { type ServiceProcess, startProcess } from '../support/running-system.ts';
import { eventually, makeTemplate, openWorld, type World } from '../support/world.ts';
import { type BusySales, keepBusy } from './busy-sales.ts';
import type { Arm } from './die-at-failpoint.ts';
import { type CrashPoint, type Server, timesAt } from './failpoints-table.ts';

const REACHED_WITHIN_MS = 30_000;
const ENDED_WITHIN_MS = 30_000;
/** Kills between two audits under load: what an audit finds does not go away. */
const AUDIT_EVERY = 3;
/** Milliseconds between two snapshots. */
const AUDIT_PAUSE_MS = 50;
const SETTINGS = {
  GLOBAL_RATE_LIMIT: '100000',
  RATE_LIMIT_TOKENS: '6',
  TOKEN_REFILL_RATE: '1',
  JOB_LOCK_MS: '1500',
  ORPHAN_AGE_MS: '700',
  REAPER_INTERVAL_MS: '150',
  REQUEST_TIMEOUT_MS: '1500',
  LOG_LEVEL: 'warn',
};
const preload = fileURLToPath(new URL('./die-at-failpoint.ts', import.meta.url));

export interface KilledServerReport {
  /** By point: null where the server was killed there and all went on. */
  readonly outcomes: ReadonlyMap<string, string | null>;
  /** What the audit said while the servers were up, and in the end. */
  readonly breaks: readonly string[];
  /** Accepted orders that were not confirmed within 30 s after everything was up. */
  readonly unconfirmed: readonly string[];
  readonly accepted: number;
}

export const pointName = ({ step, service }: CrashPoint): string => `${service} at ${step}`;

export async function killServerAt(server: Server, points: readonly CrashPoint[]): Promise<KilledServerReport> {
  const folder = ownFolder(mkdtempSync(join(tmpdir(), 'flash-sale-crash-')));
  // PostgreSQL runs under another account when we are root.
  chmodSync(folder, 0o711);
  const distFolder = process.env.TEST_REDIS_DIST;
  const start = {
    redis: (): Promise<PrivateServer> =>
      // What was answered is on the disk: nothing may be lost.
      startPrivateRedis({
        folder,
        restart: false,
        config: ['appendfsync always'],
        ...(distFolder ? { distFolder } : {}),
      }),
    postgres: (): Promise<PrivateServer> => startPrivatePostgres({ folder, restart: false, durable: true }),
  };
  const servers: Record<Server, PrivateServer> = { redis: await start.redis(), postgres: await start.postgres() };
  let world: World | undefined;
  let busy: BusySales | undefined;

  /** @throws if the service is gone: it is to live through everything */
  async function killAt(step: CrashPoint['step'], service: ServiceProcess): Promise<string | null> {
    const { exitCode, signalCode } = service.child;
    if (exitCode !== null || signalCode !== null)
      throw new Error(`before ${step}, its service ended (${exitCode ?? signalCode}):\n${service.output()}`);
    const victim = servers[server].pid as number;
    const arm: Arm = { failpoint: step, times: timesAt(step), victim };
    service.child.send({ arm });
    try {
      await eventually('it is reached', REACHED_WITHIN_MS, () => servers[server].pid !== victim);
      servers[server] = await startAgain(start[server]);
      const before = busy?.accepted.size ?? 0;
      await eventually('orders are accepted again', 20_000, () => (busy?.accepted.size ?? 0) > before);
      return null;
    } catch (error) {
      return (error as Error).message;
    }
  }

  try {
    const template = await makeTemplate(servers.postgres.url);
    world = await openWorld(template.name, { redisUrl: servers.redis.url, databaseUrl: servers.postgres.url });
    const settings = { ...SETTINGS, NODE_OPTIONS: `--import=${preload}` };
    const [api, worker] = await Promise.all([
      startProcess(world, 'api', settings),
      startProcess(world, 'worker', settings),
    ]);
    const services = { api, worker };
    busy = await keepBusy(world, () => [api.url]);
    const outcomes = new Map<string, string | null>();
    const breaks: string[] = [];
    for (const [i, point] of points.entries()) {
      outcomes.set(pointName(point), await killAt(point.step, services[point.service]));
      if (i % AUDIT_EVERY !== 0) continue;
      const found = await auditNow(world, { saleIds: busy.saleIds, settleMs: 600_000 });
      breaks.push(...found.map((fault) => `after ${pointName(point)}: ${fault}`));
    }
    await busy.stop();
    const unconfirmed = await waitForEnds(world, busy.accepted);
    await untilStill(world);
    breaks.push(...(await auditNow(world, {})));
    return { outcomes, breaks, unconfirmed, accepted: busy.accepted.size };
  } finally {
    await world?.close();
    await Promise.all(Object.values(servers).map((one) => one.stop()));
    rmSync(folder, { recursive: true, force: true });
  }
}

/** PostgreSQL's children may hold its memory for a moment after it was killed. */
async function startAgain(start: () => Promise<PrivateServer>): Promise<PrivateServer> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await start();
    } catch (error) {
      if (attempt === 20) throw error;
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
  }
}

async function auditNow({ redis, pool, keys }: World, options: Partial<AuditOptions>): Promise<string[]> {
  return listFaults(await auditSales({ redis, pool, keys, pauseMs: AUDIT_PAUSE_MS, ...options }));
}

async function waitForEnds(world: World, accepted: ReadonlyMap<string, string>): Promise<string[]> {
  const ids = [...accepted.keys()];
  const deadline = Date.now() + ENDED_WITHIN_MS;
  for (;;) {
    const { rows } = await world.pool.query('SELECT id, buyer_id, status, reason FROM orders WHERE id = ANY($1)', [
      ids,
    ]);
    const fine = new Set(
      rows
        .filter(
          (row) =>
            row.buyer_id === accepted.get(row.id) && (row.status === 'confirmed' || row.reason === 'LEDGER_REFUSED'),
        )
        .map((row) => row.id),
    );
    const left = ids.filter((id) => !fine.has(id));
    if (left.length === 0 || Date.now() > deadline) return left;
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}

async function untilStill(world: World): Promise<void> {
  const inventory = createInventory(world);
  const { rows } = await world.pool.query<{ id: string }>('SELECT id FROM sales');
  await eventually('nothing is reserved', 45_000, async () => {
    const all = await Promise.all(rows.map(({ id }) => inventory.read(id)));
    return all.every(({ numbers }) => numbers?.reserved === 0);
  });
}

/**
 * A server that is killed at the very moment that a process reaches a step, under load, and started again: once for each step of a list.
 * What is promised afterwards is looked at by the test files.
 */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createInventory } from '@flash-sale/core/inventory/inventory.ts';
import { startPrivatePostgres } from '@flash-sale/launcher/private-postgres.ts';
import { startPrivateRedis } from '@flash-sale/launcher/private-redis.ts';
import { ownFolder, type PrivateServer } from '@flash-sale/launcher/private-server.ts';
import { listFaults } from '@flash-sale/ops/audit/audit-report.ts';
import { auditSales } from '@flash-sale/ops/audit/audit-sale.ts';
import { freePort } from '../support/free-port.ts';
import { type ServiceProcess, startProcess } from '../support/running-system.ts';
import { eventually, makeTemplate, openWorld, type World } from '../support/world.ts';
import { type BusySales, keepBusy } from './busy-sales.ts';
import type { CrashPoint, Server } from './failpoints-table.ts';

const REACHED_WITHIN_MS = 30_000;
const ENDED_WITHIN_MS = 30_000;
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
  process.env.TEST_DATABASE_URL = servers.postgres.url;
  const template = await makeTemplate();
  const world = await openWorld(template.name, servers.redis.url);
  const living = new Set<ServiceProcess>();
  const urls = new Set<string>();
  let busy: BusySales | undefined;

  async function startService(service: 'api' | 'worker', more: Record<string, string> = {}): Promise<ServiceProcess> {
    const port = service === 'api' ? await freePort() : 0;
    const started = await startProcess(world, service, {
      ...SETTINGS,
      ...(port ? { PORT: String(port) } : {}),
      ...more,
    });
    const url = `http://127.0.0.1:${port}`;
    if (port) urls.add(url);
    living.add(started);
    started.child.once('exit', () => {
      living.delete(started);
      urls.delete(url);
    });
    return started;
  }

  async function dieAt(point: CrashPoint): Promise<string | null> {
    const victim = servers[server].pid as number;
    const often = /^(reserve|commit|take-job|confirm-orders|add-jobs|receive-order)/.test(point.step);
    const killer = await startService(point.service, {
      NODE_OPTIONS: `--import=${preload}`,
      DIE_AT_FAILPOINT: point.step,
      DIE_AT_TIME: often ? '5' : '1',
      DIE_VICTIM: String(victim),
    });
    try {
      await eventually('it is reached', REACHED_WITHIN_MS, () => servers[server].pid !== victim);
      servers[server] = await startAgain(start[server]);
      await eventually('orders are accepted again', 20_000, () => {
        const before = busy?.accepted.size ?? 0;
        return new Promise((resolve) => setTimeout(() => resolve((busy?.accepted.size ?? 0) > before), 200));
      });
      return null;
    } catch (error) {
      return (error as Error).message;
    } finally {
      await killer.kill();
    }
  }

  try {
    await Promise.all([startService('api'), startService('worker')]);
    busy = await keepBusy(world, () => [...urls]);
    const outcomes = new Map<string, string | null>();
    const breaks: string[] = [];
    for (const point of points) {
      outcomes.set(pointName(point), await dieAt(point));
      breaks.push(...(await auditNow(world)).map((found) => `after ${pointName(point)}: ${found}`));
    }
    await busy.stop();
    const unconfirmed = await waitForEnds(world, busy.accepted);
    await untilStill(world);
    breaks.push(...(await auditNow(world, 30_000)));
    return { outcomes, breaks, unconfirmed, accepted: busy.accepted.size };
  } finally {
    await Promise.all([...living].map((service) => service.kill()));
    await world.close();
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

async function auditNow({ redis, pool, keys }: World, settleMs = 600_000): Promise<string[]> {
  return listFaults(await auditSales({ redis, pool, keys, settleMs }));
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

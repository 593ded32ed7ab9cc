/**
 * [I3] Kills a process under load at every failpoint between the receipt of a request and a final
 * state. Meanwhile and at the end the audit is clean, and every accepted order is confirmed.
 */
import { fileURLToPath } from 'node:url';
import { auditSales } from '@flash-sale/ops/audit/audit-sale.ts';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { type BusySales, keepBusy } from '../crash/busy-sales.ts';
import { type CrashPoint, crashPoints, type Service, timesAt } from '../crash/failpoints-table.ts';
import { listFaults } from '../support/list-faults.ts';
import { type ServiceProcess, startProcess } from '../support/running-system.ts';
import { eventually, openWorld, type World } from '../support/world.ts';

/** Processes that are killed concurrently, beside one of each service that lives on. */
const CONCURRENT = { api: 3, worker: 4 } as const;
const REACHED_WITHIN_MS = 60_000;
const AUDIT_EVERY_MS = 2_000;
const SETTINGS = {
  GLOBAL_RATE_LIMIT: '100000',
  RATE_LIMIT_TOKENS: '6',
  TOKEN_REFILL_RATE: '1',
  JOB_LOCK_MS: '1500',
  ORPHAN_AGE_MS: '700',
  REAPER_INTERVAL_MS: '150',
  LOG_LEVEL: 'warn',
};
const preload = fileURLToPath(new URL('../crash/die-at-failpoint.ts', import.meta.url));

let world: World;
let busy: BusySales;
const urls = new Set<string>();
const running = new Set<ServiceProcess>();
/** Failpoints at which a process is to be killed now. */
const armed = new Set<string>();
/** By crash point: null if the process was killed there, else what happened instead. */
const outcomes = new Map<string, string | null>();

const name = ({ step, service }: CrashPoint): string => `${service} at ${step}`;

async function start(service: Service, more: Record<string, string> = {}): Promise<ServiceProcess> {
  const started = await startProcess(world, service, { ...SETTINGS, ...more });
  if (service === 'api') urls.add(started.url);
  running.add(started);
  started.child.once('exit', () => {
    running.delete(started);
    urls.delete(started.url);
  });
  return started;
}

/** A long settleMs: some orders wait for the ledger until the end of the test. */
async function auditNow(): Promise<string[]> {
  const { redis, pool, keys } = world;
  return listFaults(await auditSales({ redis, pool, keys, saleIds: busy.saleIds, settleMs: 600_000 }));
}

async function dieAt(point: CrashPoint): Promise<void> {
  const settings = {
    NODE_OPTIONS: `--import=${preload}`,
    DIE_AT_FAILPOINT: point.step,
    DIE_AT_TIME: String(timesAt(point.step)),
  };
  armed.add(point.step);
  try {
    const dying = await start(point.service, settings);
    await eventually('the failpoint is reached', REACHED_WITHIN_MS, () => hasEnded(dying)).finally(() => dying.kill());
    outcomes.set(name(point), dying.child.signalCode === 'SIGKILL' ? null : `it ended by itself:\n${dying.output()}`);
  } catch (error) {
    // The failpoint of a loop may be reached before the process is ready.
    const { message } = error as Error;
    outcomes.set(name(point), message.includes('(SIGKILL) before it was ready') ? null : message);
  } finally {
    armed.delete(point.step);
  }
}

const hasEnded = ({ child }: ServiceProcess): boolean => child.exitCode !== null || child.signalCode !== null;

beforeAll(async () => {
  world = await openWorld(inject('template'));
  // These two live through all of it.
  await Promise.all([start('api'), start('worker')]);
  busy = await keepBusy(world, () => [...urls], {
    newSales: () => [...armed].some((step) => step.startsWith('create-')),
  });
  const points = crashPoints();
  const violations: string[] = [];
  let killing = true;
  const auditing = (async () => {
    while (killing) {
      violations.push(...(await auditNow()));
      await new Promise((resolve) => setTimeout(resolve, AUDIT_EVERY_MS));
    }
  })();
  await Promise.all(
    (['api', 'worker'] as const).map(async (service) => {
      const waiting = points.filter((point) => point.service === service);
      await Promise.all(
        Array.from({ length: CONCURRENT[service] }, async () => {
          for (let point = waiting.shift(); point; point = waiting.shift()) await dieAt(point);
        }),
      );
    }),
  );
  killing = false;
  await auditing;
  outcomes.set('the audit meanwhile', violations.length === 0 ? null : violations.join('\n'));
  await busy.stop();
}, 1_800_000);
afterAll(async () => {
  await Promise.all([...running].map((process) => process.kill()));
  await world.close();
});

test.each(crashPoints().map(name))('killed: %s', (point) => {
  expect(outcomes.get(point)).toBeNull();
});

test('[I1] the audit of the busy sales was clean each time', () => {
  expect(outcomes.get('the audit meanwhile')).toBeNull();
});

test('[I3] [trap 10] [trap 17] every accepted order is confirmed under the id that its buyer got', async () => {
  expect(busy.accepted.size).toBeGreaterThan(500);
  const unfinished = async (): Promise<string[]> => {
    const { rows } = await world.pool.query('SELECT id FROM orders WHERE id = ANY($1)', [[...busy.accepted.keys()]]);
    const ended = new Set(rows.map((row) => row.id));
    return [...busy.accepted.keys()].filter((id) => !ended.has(id));
  };
  await eventually('every order has ended', 30_000, async () => (await unfinished()).length === 0).catch(
    async (error) => {
      expect(await unfinished(), (error as Error).message).toEqual([]);
    },
  );
  const { rows } = await world.pool.query('SELECT id, buyer_id, status, reason FROM orders WHERE id = ANY($1)', [
    [...busy.accepted.keys()],
  ]);
  const wrong = rows.filter(
    (row) =>
      row.buyer_id !== busy.accepted.get(row.id) || (row.status !== 'confirmed' && row.reason !== 'LEDGER_REFUSED'),
  );
  expect(wrong).toEqual([]);
  expect(busy.faults).toEqual([]);
});

test('[I1] [I3] at rest the audit is clean and nothing is reserved', async () => {
  const reserved = async (): Promise<string[]> => {
    const { rows } = await world.pool.query('SELECT id FROM sales ORDER BY id');
    const left: string[] = [];
    for (const { id } of rows) {
      const units = await world.redis.hget(world.keys.sale(id).inventory, 'reserved');
      if (units !== '0') left.push(`${id}: ${units}`);
    }
    return left;
  };
  await eventually('nothing is reserved', 45_000, async () => (await reserved()).length === 0).catch(async () => {
    expect(await reserved()).toEqual([]);
  });
  const { redis, pool, keys } = world;
  expect(listFaults(await auditSales({ redis, pool, keys }))).toEqual([]);
}, 60_000);

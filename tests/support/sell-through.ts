/** A sale with a crowd during which Redis fails: which orders were lost, and how each ended. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInventory } from '@flash-sale/core/inventory/inventory.ts';
import { connectForWork } from '@flash-sale/core/runtime/redis/connect-redis.ts';
import type { AnyRedis } from '@flash-sale/core/runtime/redis/open-redis.ts';
import { auditSales } from '@flash-sale/ops/audit/audit-sale.ts';
import { connectStores } from '@flash-sale/ops/connect-stores.ts';
import { longestSilenceMs, PASSING, startCrowd, tallyOf } from './buyers.ts';
import { addressesOf, runScript } from './command.ts';
import { freePort } from './free-port.ts';
import { listFaults } from './list-faults.ts';
import { ADMIN_TOKEN, type ServiceProcess, startProcess } from './running-system.ts';
import { makeSale } from './sales.ts';
import { eventually, openWorld, type World } from './world.ts';

/** Replies pending at a time. */
const CONNECTIONS = 50;
/** Seconds that the crowd would need for all units. */
const SALE_LASTS_S = 6;
/** ms for the rest of the sale, with a failover. */
const SOLD_WITHIN_MS = 30_000;
/** ms after which every order must have ended, after job locks, orphans and a failover. */
const SETTLED_WITHIN_MS = 60_000;

/** The system at the time of the failure. */
export interface Underway {
  readonly world: World;
  readonly saleId: string;
  readonly redis: AnyRedis;
  readonly workers: readonly ServiceProcess[];
  /** Accepted by now. */
  readonly accepted: ReadonlySet<string>;
  /** To be called at the moment of the failure. */
  struck(): void;
}

export interface SaleEnd {
  /** Orders that a reply of 200 named. */
  readonly accepted: ReadonlySet<string>;
  /** Of every order in the ledger: why it was rejected, or its status. */
  readonly outcomes: ReadonlyMap<string, string>;
  /** Accepted orders that the ledger lacked at the failure, and pending replies. */
  readonly atRisk: number;
  /** Accepted orders in neither store once everything was settled. */
  readonly lost: number;
  /** Lost orders that `npm run recover:orders` confirmed. */
  readonly recovered: number;
  /** Accepted orders without an outcome after that. */
  readonly forgotten: number;
  /** In the ledger, of all. */
  readonly confirmed: number;
  /** Longest time in ms without an accepted order after the failure. */
  readonly closedMs: number;
  /** The inventory's final epoch; 1: it was never rebuilt. */
  readonly epoch: number;
  /** Of the audit. */
  readonly faults: readonly string[];
}

interface Options {
  readonly template: string;
  readonly redisUrl: string;
  /** Address of a database through a pooler, if processes use one. */
  readonly ledgerBy?: (databaseUrl: string) => string;
  readonly units: number;
  /** Units that are confirmed at the failure. */
  readonly after: number;
  readonly happens: (underway: Underway) => Promise<void>;
  /** API processes, and as many workers. Default: 2. */
  readonly processes?: number;
  /**
   * When `npm run recover:orders` runs: in a pause after the failure (docs/runbook.md), or at the
   * end (default).
   */
  readonly recovers?: 'in a pause' | 'sold out';
}

export async function sellThrough(options: Options): Promise<SaleEnd> {
  const { template, redisUrl, units, after } = options;
  const folder = mkdtempSync(join(tmpdir(), 'flash-sale-failover-'));
  const world = await openWorld(template);
  const databaseUrl = options.ledgerBy?.(world.databaseUrl) ?? world.databaseUrl;
  const { redis, connect, close } = connectForWork({ url: redisUrl, name: 'test', log: world.log });
  const processes: ServiceProcess[] = [];
  try {
    await connect();
    const at = { redis, pool: world.pool, keys: world.keys };
    const inventory = createInventory(at);
    const sale = await makeSale(at, { units, perBuyerLimit: 1 });
    const servers = { redisUrl, databaseUrl, prefix: world.prefix };
    const ports = await Promise.all(Array.from({ length: options.processes ?? 2 }, freePort));
    // Buckets exist, and move with slots.
    const settings = { RATE_LIMIT_TOKENS: '1000', REQUEST_TIMEOUT_MS: '1000', ORPHAN_AGE_MS: '2000' };
    const apis = await Promise.all(
      ports.map((port) => startProcess(servers, 'api', { ...settings, PORT: String(port) })),
    );
    processes.push(...apis);
    const workers = await Promise.all(ports.map(() => startProcess(servers, 'worker', settings)));
    processes.push(...workers);

    const urls = ports.map((port) => `http://127.0.0.1:${port}`);
    const crowd = startCrowd({
      urls,
      saleId: sale.id,
      connections: CONNECTIONS,
      ordersPerSecond: units / SALE_LASTS_S,
      retry: PASSING,
      retryMs: 100,
    });
    const sold = async () =>
      (await world.pool.query<{ sold: number }>('SELECT sold FROM sales WHERE id = $1', [sale.id])).rows[0]?.sold ?? 0;
    await eventually('the sale is in its middle', 60_000, async () => (await sold()) >= after);
    const soldThen = await sold();
    let [struckAt, atRisk] = [Number.NaN, Number.NaN];
    const struck = (): void => {
      struckAt = performance.now();
      atRisk = crowd.accepted.size - soldThen + CONNECTIONS;
    };
    await options.happens({ world, saleId: sale.id, redis, workers, accepted: crowd.accepted, struck });
    const settled = () =>
      eventually('no order is under way', SETTLED_WITHIN_MS, async () => {
        const { numbers } = await inventory.read(sale.id);
        return numbers?.reserved === 0 && numbers.sold === (await sold());
      });
    const outcomes = async (): Promise<Map<string, string>> => {
      const { rows } = await world.pool.query(
        'SELECT id, coalesce(reason, status) AS word FROM orders WHERE sale_id = $1',
        [sale.id],
      );
      return new Map(rows.map((row) => [row.id, row.word]));
    };
    const recover = async (): Promise<string[]> => {
      await settled();
      const before = await outcomes();
      const lost = [...crowd.accepted].filter((id) => !before.has(id));
      await recoverOrders(servers, apis, folder);
      await settled();
      return lost;
    };
    const lost: string[] = [];
    if (options.recovers === 'in a pause') {
      await operate(urls, sale.id, 'pause');
      lost.push(...(await recover()));
      await operate(urls, sale.id, 'resume');
    }
    await eventually('everything is sold out', SOLD_WITHIN_MS, () => crowd.isOver()).catch((error: Error) => {
      throw new Error(`${error.message}; ${JSON.stringify(tallyOf(crowd.replies))}\n${lastWords(processes)}`);
    });
    await crowd.ended;
    lost.push(...(await recover()));
    const end = await outcomes();
    const { rows } = await world.pool.query('SELECT epoch FROM sales WHERE id = $1', [sale.id]);
    return {
      accepted: crowd.accepted,
      outcomes: end,
      atRisk,
      lost: lost.length,
      recovered: lost.filter((id) => end.get(id) === 'confirmed').length,
      forgotten: [...crowd.accepted].filter((id) => !end.has(id)).length,
      confirmed: [...end.values()].filter((word) => word === 'confirmed').length,
      closedMs: longestSilenceMs(crowd.replies, struckAt),
      epoch: rows[0].epoch,
      faults: await audit(servers, world, sale.id),
    };
  } finally {
    for (const { child } of processes) child.kill('SIGCONT');
    await Promise.all(processes.map((process) => process.kill()));
    await close();
    await world.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Sends an operator's command until it succeeds. @throws if it does not in time */
async function operate(urls: readonly string[], saleId: string, command: 'pause' | 'resume'): Promise<void> {
  const headers = { authorization: `Bearer ${ADMIN_TOKEN}` };
  await eventually(`the operator's ${command} succeeds`, SOLD_WITHIN_MS, async () => {
    const { ok } = await fetch(`${urls[0]}/api/admin/sales/${saleId}/${command}`, { method: 'POST', headers });
    return ok;
  });
}

/** Last log lines of the processes, without those about orders. */
function lastWords(processes: readonly ServiceProcess[]): string {
  const ofOne = ({ output }: ServiceProcess): string[] =>
    output()
      .split('\n')
      .filter((line) => !/order (accepted|confirmed)|did not answer an order/.test(line))
      .slice(-20);
  return processes.flatMap(ofOne).join('\n');
}

type Servers = { readonly redisUrl: string; readonly databaseUrl: string; readonly prefix: string };

/** Runs the command over the logs of all APIs. @throws if a recovered order did not end */
async function recoverOrders(servers: Servers, apis: readonly ServiceProcess[], folder: string): Promise<void> {
  const logs = apis.map(({ output }, i) => {
    const file = join(folder, `api-${i + 1}.log`);
    writeFileSync(file, output());
    return file;
  });
  const { code, stdout, stderr } = await runScript('recover-orders', logs, addressesOf(servers));
  if (code !== 0) throw new Error(`recover-orders failed:\n${stdout}${stderr}`);
}

/** @returns violations of the audit, over the addresses of the processes */
async function audit({ redisUrl, databaseUrl }: Servers, { keys, prefix }: World, saleId: string): Promise<string[]> {
  const { redis, pool, close } = await connectStores({ redisUrl, databaseUrl, prefix }, 'flash-sale-audit');
  try {
    const report = await auditSales({ redis, pool, keys, saleIds: [saleId] });
    return listFaults(report).map((fault) => JSON.stringify(fault));
  } finally {
    await close();
  }
}

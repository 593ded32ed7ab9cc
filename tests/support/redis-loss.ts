/**
 * A sale in whose middle Redis loses something: what a crowd was told, what became of it, and for how long nothing was admitted. Used by
 * tests and by the measured page.
 */
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInventory } from '@flash-sale/core/inventory/inventory.ts';
import { createLogger } from '@flash-sale/core/runtime/logging.ts';
import { connectForRequests } from '@flash-sale/core/runtime/redis/connect-redis.ts';
import type { AnyRedis } from '@flash-sale/core/runtime/redis/open-redis.ts';
import { startPrivateRedis } from '@flash-sale/launcher/private-redis.ts';
import type { PrivateServer } from '@flash-sale/launcher/private-server.ts';
import { msToNextAccepted, PASSING, startCrowd, tallyOf } from './buyers.ts';
import { freePort } from './free-port.ts';
import { type ServiceProcess, startProcess } from './running-system.ts';
import { makeSale } from './sales.ts';
import { TcpProxy } from './tcp-proxy.ts';
import { eventually, openWorld, type World } from './world.ts';

/**
 * restart: SIGKILL, and started again with its own file. restored: started again with a file of a second ago, as after the loss of power
 * with `appendfsync everysec`. failover: a replica that is a second behind takes over. flushall: emptied.
 */
export type Loss = 'restart' | 'restored' | 'failover' | 'flushall';

export interface LossReport {
  readonly loss: Loss;
  /** Orders that a reply of 200 named. */
  readonly accepted: ReadonlySet<string>;
  /** Milliseconds from the loss to the first reply of 200 after it. */
  readonly closedMs: number;
  /** Milliseconds that the new epoch was being made, as the ledger has written it down. */
  readonly rebuiltMs: number;
  readonly epoch: number;
  readonly replies: Readonly<Record<string, number>>;
  /** The API's log, for pnpm recover:orders. */
  readonly logFile: string;
  readonly world: World;
  readonly saleId: string;
  /** Waits until no order of the sale is under way. */
  settled(): Promise<void>;
  close(): Promise<void>;
}

/** Seconds that the crowd would need for all units, so that something is left when Redis is lost. */
const SALE_LASTS_S = 6;

interface Options {
  readonly template: string;
  readonly loss: Loss;
  readonly units: number;
  /** Units that are confirmed when it happens. */
  readonly after: number;
  readonly distFolder?: string | undefined;
  readonly appendfsync?: 'always' | 'everysec';
}

export async function loseRedis(options: Options): Promise<LossReport> {
  const folder = mkdtempSync(join(tmpdir(), 'flash-sale-loss-'));
  const servers: PrivateServer[] = [];
  const processes: ServiceProcess[] = [];
  const dist = options.distFolder ? { distFolder: options.distFolder } : {};
  const start = async (name: string, config: readonly string[] = []): Promise<PrivateServer> => {
    const config_ = [`appendfsync ${options.appendfsync ?? 'everysec'}`, ...config];
    const server = await startPrivateRedis({ folder: join(folder, name), restart: false, config: config_, ...dist });
    servers.push(server);
    return server;
  };
  mkdirSync(join(folder, 'first'));
  const first = await start('first', ['repl-diskless-sync-delay 0']);
  const proxy = await TcpProxy.listen(await freePort(), first.port);
  const url = new URL(first.url);
  url.port = String(proxy.port);
  const world = await openWorld(options.template, url.href);
  let replica: Replica | undefined;
  const close = async (): Promise<void> => {
    await replica?.way.close();
    await Promise.all(processes.map((process) => process.kill()));
    await world.close();
    await proxy.close();
    await Promise.all(servers.map((server) => server.stop()));
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    const sale = await makeSale(world, { units: options.units, perBuyerLimit: 1 });
    const port = await freePort();
    const api = await startProcess(world, 'api', { PORT: String(port), REQUEST_TIMEOUT_MS: '1000' });
    const worker = await startProcess(world, 'worker');
    processes.push(api, worker);
    replica = options.loss === 'failover' ? await startReplica(folder, first, start) : undefined;

    const crowd = startCrowd({
      urls: [`http://127.0.0.1:${port}`],
      saleId: sale.id,
      ordersPerSecond: options.units / SALE_LASTS_S,
      retry: PASSING,
      retryMs: 20,
    });
    const sold = async () =>
      (await world.pool.query<{ sold: number }>('SELECT sold FROM sales WHERE id = $1', [sale.id])).rows[0]?.sold ?? 0;
    await eventually('the sale is in its middle', 60_000, async () => (await sold()) >= options.after);
    const lostAt = await lose(options.loss, { first, start, folder, proxy, world, worker, replica });
    await crowd.ended;
    const epoch = (await world.pool.query('SELECT * FROM inventory_epochs ORDER BY epoch DESC LIMIT 1')).rows[0];
    const logFile = join(folder, 'api.log');
    writeFileSync(logFile, api.output());
    return {
      loss: options.loss,
      accepted: crowd.accepted,
      replies: tallyOf(crowd.replies),
      closedMs: msToNextAccepted(crowd.replies, lostAt),
      rebuiltMs: epoch.opened_at - epoch.noticed_at,
      epoch: epoch.epoch,
      logFile,
      world,
      saleId: sale.id,
      settled: () =>
        eventually('no order is under way', 30_000, async () => {
          const { numbers } = await createInventory(world).read(sale.id);
          return numbers?.reserved === 0 && numbers.sold === (await sold());
        }),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

interface Replica {
  readonly server: PrivateServer;
  /** The way from the first server to it. */
  readonly way: TcpProxy;
}

async function startReplica(
  folder: string,
  first: PrivateServer,
  start: (name: string, config?: readonly string[]) => Promise<PrivateServer>,
): Promise<Replica> {
  const { password } = new URL(first.url);
  // One password for both: whoever fails over does not log in anew.
  cpSync(join(folder, 'first', 'secrets'), join(folder, 'replica', 'secrets'), { recursive: true });
  const way = await TcpProxy.listen(await freePort(), first.port);
  const config = [`replicaof 127.0.0.1 ${way.port}`, `masterauth ${password}`, 'replica-read-only no'];
  const server = await start('replica', config);
  await askReplica(server, (redis) =>
    eventually('the replica is in step', 20_000, async () =>
      (await redis.info('replication')).includes('link_status:up'),
    ),
  );
  return { server, way };
}

async function askReplica(replica: PrivateServer, ask: (redis: AnyRedis) => Promise<unknown>): Promise<void> {
  const log = createLogger('replica', 'silent');
  const { redis, connect, close } = connectForRequests({ url: replica.url, name: 'replica', timeoutMs: 5_000, log });
  await connect();
  await ask(redis);
  await close();
}

/** @returns when (performance.now) it was lost */
async function lose(
  loss: Loss,
  parts: {
    first: PrivateServer;
    start: (name: string) => Promise<PrivateServer>;
    folder: string;
    proxy: TcpProxy;
    world: World;
    worker: ServiceProcess;
    replica: Replica | undefined;
  },
): Promise<number> {
  const { first, start, folder, proxy, world, worker, replica } = parts;
  const data = join(folder, 'first', 'redis');
  const copy = join(folder, 'copy');
  if (loss === 'restored') cpSync(data, copy, { recursive: true });
  // From here on the replica hears nothing.
  replica?.way.hold('down');
  await pause(700);
  // The worker falls behind: some of what is accepted now is in Redis only.
  worker.child.kill('SIGSTOP');
  await pause(300);
  const lostAt = performance.now();
  if (loss === 'flushall') await world.redis.flushall();
  else {
    first.kill();
    await eventually('redis is gone', 5_000, () => first.pid === undefined);
    if (loss === 'restored') {
      rmSync(data, { recursive: true });
      cpSync(copy, data, { recursive: true });
    }
    if (replica) {
      replica.way.cut();
      proxy.cut();
      await askReplica(replica.server, (redis) => redis.replicaof('NO', 'ONE'));
      proxy.targetPort = replica.server.port;
    } else proxy.targetPort = (await start('first')).port;
  }
  worker.child.kill('SIGCONT');
  return lostAt;
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

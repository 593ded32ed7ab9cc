/** API and worker in a test: in this process on a real port, or as processes that can be killed. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once as event } from 'node:events';
import { fileURLToPath } from 'node:url';
import { buildApp } from '@flash-sale/api/app.ts';
import { connect } from '@flash-sale/api/connect.ts';
import { type Environment, readEnvironment } from '@flash-sale/core/config/environment.ts';
import { SERVICE_NODE_ARGS } from '@flash-sale/core/config/node-args.ts';
import { identifyLedger } from '@flash-sale/core/ledger/ledger-id.ts';
import type { ServiceSettings } from '@flash-sale/core/run-service.ts';
import { createMetrics } from '@flash-sale/core/runtime/metrics.ts';
import { startWorker } from '@flash-sale/worker/worker.ts';
import { freePort } from './free-port.ts';
import { eventually, type World } from './world.ts';

export const ADMIN_TOKEN = 'a-token-for-the-tests';

export interface RunningApi {
  /** http://127.0.0.1:port */
  readonly url: string;
  readonly connections: Awaited<ReturnType<typeof connect>>;
  readonly app: Awaited<ReturnType<typeof buildApp>>;
  close(): Promise<void>;
}

type Settings = ServiceSettings & { ADMIN_TOKEN: string };

export async function settingsFor(world: World, changed: Partial<Environment>): Promise<Settings> {
  const { prefix, redisUrl, databaseUrl } = world;
  return {
    ...readEnvironment({ NODE_ENV: 'test', KEY_PREFIX: prefix }),
    // Most tests are not about limits.
    GLOBAL_RATE_LIMIT: 0,
    RATE_LIMIT_TOKENS: 0,
    // Crowd and other tests share the process and the machine: a late event loop means nothing.
    OVERLOAD_LOOP_DELAY_MS: 0,
    REAPER_INTERVAL_MS: 100,
    ORPHAN_AGE_MS: 500,
    ...changed,
    REDIS_URL: changed.REDIS_URL ?? redisUrl,
    DATABASE_URL: changed.DATABASE_URL ?? databaseUrl,
    ADMIN_TOKEN,
    ledgerId: await identifyLedger(world.pool),
  };
}

/** An API in this process. It is closed with its world, if not before. */
export async function startApi(world: World, changed: Partial<Environment> = {}): Promise<RunningApi> {
  const settings = await settingsFor(world, changed);
  const connections = await connect(settings, world.log);
  const app = await buildApp(settings, connections, world.log);
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  const close = once(async () => {
    await app.close();
    await connections.close();
  });
  world.onClose(close);
  return { url, connections, app, close };
}

/** A worker in this process. It is stopped with its world, if not before. */
export async function startWorkerHere(
  world: World,
  changed: Partial<Environment> = {},
  metrics = createMetrics(),
): Promise<{ stop(): Promise<void> }> {
  const worker = await startWorker(await settingsFor(world, changed), world.log, metrics);
  const stop = once(() => worker.stop());
  world.onClose(stop);
  return { stop };
}

function once(close: () => Promise<void>): () => Promise<void> {
  let closed: Promise<void> | undefined;
  return () => (closed ??= close());
}

export interface ServiceProcess {
  readonly child: ChildProcess;
  /** Of an API: http://127.0.0.1:port */
  readonly url: string;
  readonly output: () => string;
  /** SIGKILL, and waits until it is gone. */
  kill(): Promise<void>;
  /** SIGTERM. @returns its exit code */
  stop(): Promise<number | null>;
}

const mainOf = (name: 'api' | 'worker'): string =>
  fileURLToPath(new URL(`../../apps/${name}/src/main.ts`, import.meta.url));

/** Compiled modules: processes start in half the time. Written when a process exits by itself. */
export const COMPILE_CACHE = fileURLToPath(new URL('../../node_modules/.cache/flash-sale', import.meta.url));

/** Lets each service load its modules once, and exit over a wrong setting. */
export async function warmCompileCache(): Promise<void> {
  const env = { PATH: process.env.PATH, NODE_COMPILE_CACHE: COMPILE_CACHE, LOG_LEVEL: 'wrong' };
  const exits = (['api', 'worker'] as const).map((name) =>
    event(spawn(process.execPath, [...SERVICE_NODE_ARGS, mainOf(name)], { env, stdio: 'ignore' }), 'exit'),
  );
  const codes = (await Promise.all(exits)).map(([code]) => code);
  if (codes.some((code) => code !== 78)) throw new Error(`api and worker exit with ${codes} over a wrong setting`);
}

type PlaceOfProcess = Pick<World, 'redisUrl' | 'databaseUrl' | 'prefix'> & Partial<Pick<World, 'onClose'>>;

/** As `beginProcess`. Resolves when it is ready. */
export async function startProcess(
  world: PlaceOfProcess,
  name: 'api' | 'worker',
  changed: Record<string, string> = {},
): Promise<ServiceProcess> {
  const service = await beginProcess(world, name, changed);
  await service.ready;
  return service;
}

/** Starts apps/<name>/src/main.ts as a process, which is killed with its world. */
export async function beginProcess(
  world: PlaceOfProcess,
  name: 'api' | 'worker',
  changed: Record<string, string> = {},
): Promise<ServiceProcess & { readonly ready: Promise<void> }> {
  const port = changed.PORT ?? String(await freePort());
  const child = spawn(process.execPath, [...SERVICE_NODE_ARGS, mainOf(name)], {
    env: {
      PATH: process.env.PATH,
      NODE_COMPILE_CACHE: COMPILE_CACHE,
      NODE_ENV: 'test',
      REDIS_URL: world.redisUrl,
      DATABASE_URL: world.databaseUrl,
      KEY_PREFIX: world.prefix,
      ADMIN_TOKEN,
      GLOBAL_RATE_LIMIT: '0',
      RATE_LIMIT_TOKENS: '0',
      OVERLOAD_LOOP_DELAY_MS: '0',
      // Other tests share the machine: a worker of lower priority would be late.
      WORKER_NICE: '0',
      WARM_UP: 'off',
      ORPHAN_AGE_MS: '1000',
      REAPER_INTERVAL_MS: '200',
      ...changed,
      PORT: port,
    },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  let output = '';
  child.stdout?.on('data', (chunk) => (output += chunk));
  child.stderr?.on('data', (chunk) => (output += chunk));
  // Not 'exit': some of its output may still come then.
  const gone = event(child, 'close');
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL');
    await gone;
  };
  world.onClose?.(kill);
  let ready = false;
  child.on('message', () => (ready = true));
  const whenReady = eventually(`${name} is ready`, 60_000, () => {
    const end = child.exitCode ?? child.signalCode;
    if (end !== null) throw new Error(`${name} ended (${end}) before it was ready:\n${output}`);
    return ready;
  });
  // Not awaited by a test that kills the process before.
  whenReady.catch(() => {});
  return {
    child,
    ready: whenReady,
    url: `http://127.0.0.1:${port}`,
    output: () => output,
    kill,
    async stop() {
      child.kill('SIGTERM');
      await gone;
      return child.exitCode;
    },
  };
}

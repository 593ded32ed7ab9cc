/**
 * A private Redis with its data in <folder>/redis: append-only file on, nothing evicted, a password, loopback only, on the same
 * port at every start while that port is free.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { memoryLimit } from '@flash-sale/core/runtime/memory-limit.ts';
import { checkRedis } from '@flash-sale/core/runtime/redis/check-redis.ts';
import { type FoundRedis, findRedis, RedisMissingError } from './find-redis.ts';
import { keptPort, portState } from './free-port.ts';
import { type KeptProcess, keepProcess } from './keep-process.ts';
import { keptSecret } from './kept-secret.ts';
import type { PrivateServer, PrivateServerOptions } from './private-server.ts';
import { runCommand } from './run-command.ts';
import { waitUntilReady } from './wait-until.ts';

/** Milliseconds for the append-only file to be read again. It grows with the orders of a sale, so this is generous. */
const READY_WITHIN_MS = 60_000;

/** Milliseconds for the image, some 50 MB, on a slow line. */
const PULL_WITHIN_MS = 600_000;

export interface PrivateRedisOptions extends PrivateServerOptions {
  /** Where a Redis from Debian's packages is kept; shared by folders that are thrown away. Default <folder>/redis-dist. */
  readonly distFolder?: string;
  /** The Redis to run, where it was found already. */
  readonly found?: FoundRedis;
  /** Megabytes that it may hold; then it refuses orders. 0, or not given: a quarter of what this machine or container has. */
  readonly memoryMb?: number;
  /** Further lines of redis.conf. */
  readonly config?: readonly string[];
}

export async function startPrivateRedis(options: PrivateRedisOptions): Promise<PrivateServer> {
  const { folder } = options;
  const found = options.found ?? (await search(options));
  const dataFolder = join(folder, 'redis');
  mkdirSync(dataFolder, { recursive: true, mode: 0o700 });
  const password = keptSecret(folder, 'redis-password');
  const portFile = join(dataFolder, 'port');
  for (let attempt = 1; ; attempt++) {
    const port = await keptPort(portFile);
    const url = `redis://default:${password}@127.0.0.1:${port}/0`;
    const configFile = join(dataFolder, 'redis.conf');
    writeFileSync(
      configFile,
      configText({
        found,
        dataFolder,
        port,
        password,
        memoryMb: options.memoryMb || shareOfMemory(),
        more: options.config ?? [],
      }),
      {
        mode: 0o600,
      },
    );
    const kept = await launch(found, options, dataFolder, configFile, port);
    try {
      const check = (remainingMs: number) => checkRedis(url, remainingMs);
      await waitUntilReady(kept, port, READY_WITHIN_MS, check, options.signal);
      return server(kept, url, port, found);
    } catch (error) {
      await kept.stop(options.stopTimeoutMs ?? 5_000);
      // Somebody else was faster to take the port between our look and the server's start.
      if (attempt === 3 || options.signal?.aborted || (await portState(port, '127.0.0.1')) === 'free') throw error;
    }
  }
}

function search({ folder, distFolder, signal, say = () => {} }: PrivateRedisOptions): Promise<FoundRedis> {
  return findRedis({
    distFolder: distFolder ?? join(folder, 'redis-dist'),
    searchPath: process.env.PATH,
    run: (command, args, more) => runCommand(command, args, { ...more, signal }),
    say,
  });
}

async function launch(
  found: FoundRedis,
  options: PrivateRedisOptions,
  dataFolder: string,
  configFile: string,
  port: number,
): Promise<KeptProcess> {
  const { folder, say = () => {}, restart = true, onStarted } = options;
  const shared = {
    name: 'redis',
    logFile: join(folder, 'logs', 'redis.log'),
    say,
    restart,
    beforeReady: 'give-up' as const,
    ...(onStarted === undefined ? {} : { onStarted }),
  };
  if (found.kind === 'binary') {
    const env = { PATH: process.env.PATH, LC_ALL: 'C', LD_LIBRARY_PATH: found.libraryPath };
    return keepProcess({ ...shared, command: found.path, args: [configFile], env, cwd: dataFolder });
  }
  await pullImage(found.image, options);
  // The name is the folder's, so that a container left behind by a killed start is found and ended.
  const name = `flash-sale-redis-${createHash('sha256').update(dataFolder).digest('hex').slice(0, 12)}`;
  const user = `${process.getuid?.() ?? 0}:${process.getgid?.() ?? 0}`;
  const run = ['run', '--rm', '--name', name, '--user', user, '--entrypoint', 'redis-server'];
  run.push('-p', `127.0.0.1:${port}:${port}`, '-v', `${dataFolder}:/data`, found.image, '/data/redis.conf');
  const script = 'docker rm -f "$0" >/dev/null 2>&1; exec docker "$@"';
  return keepProcess({ ...shared, command: '/bin/sh', args: ['-c', script, name, ...run], env: process.env });
}

async function pullImage(image: string, { signal, say = () => {} }: PrivateRedisOptions): Promise<void> {
  const known = await runCommand('docker', ['image', 'inspect', image], { signal });
  if (known.code === 0) return;
  say(`docker pull ${image}`);
  const { code, stderr } = await runCommand('docker', ['pull', image], { timeoutMs: PULL_WITHIN_MS, signal });
  if (code !== 0) {
    throw new RedisMissingError(
      `No Redis was found on this machine, and its image could not be fetched with Docker (${stderr.trim()}). ` +
        'Install Redis 7 or newer, or set REDIS_URL=redis://user:password@host:6379',
    );
  }
}

function server(kept: KeptProcess, url: string, port: number, found: FoundRedis): PrivateServer {
  return {
    url,
    port,
    what: found.kind === 'binary' ? `redis ${found.version}` : `${found.image} in Docker`,
    get pid() {
      return kept.pid;
    },
    gaveUp: kept.gaveUp,
    stop: (timeoutMs = 5_000) => kept.stop(timeoutMs),
    kill: () => kept.kill(),
  };
}

function configText(facts: {
  found: FoundRedis;
  dataFolder: string;
  port: number;
  password: string;
  memoryMb: number;
  more: readonly string[];
}): string {
  const inDocker = facts.found.kind === 'docker';
  const lines = [
    '# Written at every start; changes made here are lost.',
    // In a container the port is published on the host's loopback address only.
    `bind ${inDocker ? '*' : '127.0.0.1'}`,
    `port ${facts.port}`,
    `requirepass ${facts.password}`,
    `dir ${quoted(inDocker ? '/data' : facts.dataFolder)}`,
    'daemonize no',
    `pidfile ${quoted(join(inDocker ? '/data' : facts.dataFolder, 'redis.pid'))}`,
    'appendonly yes',
    'appendfsync everysec',
    // A million orders. Writing the file anew costs each order some 10 µs while it lasts.
    'auto-aof-rewrite-min-size 256mb',
    `maxmemory ${facts.memoryMb}mb`,
    'maxmemory-policy noeviction',
    // The buckets of a sale that has ended are one key with a time to live, and may be many.
    'lazyfree-lazy-expire yes',
    // The first orders of a sale are looked up in a table too.
    'hash-max-listpack-entries 64',
    'save ""',
    // The title says whose data it works on: how a later start knows that it may end it.
    'proc-title-template "{title} {config-file}"',
    ...facts.more,
  ];
  return `${lines.join('\n')}\n`;
}

/** PostgreSQL, the processes and the page cache share the machine, and writing the file anew may double what Redis takes. */
const SHARE_OF_MEMORY = 1 / 4;
const MEMORY_MB_MIN = 100;

const shareOfMemory = (): number => Math.max(MEMORY_MB_MIN, Math.floor((memoryLimit() * SHARE_OF_MEMORY) / 2 ** 20));

const quoted = (text: string) => `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;

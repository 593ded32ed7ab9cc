/**
 * A private Redis with its data in <folder>/redis: append-only file, noeviction, a password,
 * loopback only. It keeps its port between starts if that port is free.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { memoryLimit } from '@flash-sale/core/runtime/memory-limit.ts';
import { checkRedis } from '@flash-sale/core/runtime/redis/check-redis.ts';
import { keptSecret } from './data-folder.ts';
import { type FoundRedis, findRedis } from './find-redis.ts';
import { type PrivateServer, type PrivateServerOptions, startPrivateServer } from './private-server.ts';
import { runCommand } from './run-command.ts';

/** Milliseconds to pull the image (about 50 MB) over a slow connection. */
const PULL_WITHIN_MS = 600_000;

export interface PrivateRedisOptions extends PrivateServerOptions {
  /** For a Redis from Debian packages; can be shared by systems. Default: <folder>/redis-dist. */
  readonly distFolder?: string;
  /** The Redis to run, if the caller has found it already. */
  readonly found?: FoundRedis;
  /** Additional lines of redis.conf. */
  readonly config?: readonly string[];
}

export async function startPrivateRedis(options: PrivateRedisOptions): Promise<PrivateServer> {
  const { distFolder = join(options.folder, 'redis-dist'), config = [], ...serverOptions } = options;
  const { folder, signal, say } = serverOptions;
  const found = options.found ?? (await findRedis({ distFolder, say, signal }));
  const dataFolder = join(folder, 'redis');
  const configFile = join(dataFolder, 'redis.conf');
  mkdirSync(dataFolder, { recursive: true, mode: 0o700 });
  const password = keptSecret(folder, 'redis-password');
  if (found.kind === 'docker') await pullImage(found.image, say, signal);
  const isBinary = found.kind === 'binary';
  const env = { PATH: process.env.PATH, LC_ALL: 'C', LD_LIBRARY_PATH: isBinary ? found.libraryPath : undefined };
  return startPrivateServer(serverOptions, {
    name: 'redis',
    portFile: join(dataFolder, 'port'),
    url: (port) => `redis://default:${password}@127.0.0.1:${port}/0`,
    command(port) {
      // A container's port is published on the host's loopback address only.
      const [bind, dir] = isBinary ? ['127.0.0.1', dataFolder] : ['*', '/data'];
      const lines = [`bind ${bind}`, `port ${port}`, `requirepass ${password}`, `dir ${quoted(dir)}`];
      lines.push(`maxmemory ${shareOfMemory()}mb`, ...CONFIG, ...config);
      writeFileSync(configFile, `${lines.join('\n')}\n`, { mode: 0o600 });
      return isBinary ? [found.path, configFile] : dockerRun(found.image, dataFolder, port);
    },
    // The docker command needs HOME for its configuration.
    ...(isBinary ? { cwd: dataFolder, env } : {}),
    check: async (url) => `${(await checkRedis(url)).version}${isBinary ? '' : ' in Docker'}`,
  });
}

/** Lines of redis.conf, which is written at every start. */
const CONFIG: readonly string[] = [
  'daemonize no',
  'appendonly yes',
  'appendfsync everysec',
  // Rewrite rarely: during a rewrite each order takes about 10 µs longer.
  'auto-aof-rewrite-min-size 256mb',
  'maxmemory-policy noeviction',
  // The expired buckets of a sale are one large key: free it in the background.
  'lazyfree-lazy-expire yes',
  // Hashes above 64 fields become hash tables, so that lookups are fast from the first orders on.
  'hash-max-listpack-entries 64',
  'save ""',
  // The title contains the data folder, by which a later start identifies a leftover process.
  'proc-title-template "{title} {config-file}"',
];

/** The other processes share the machine, and an AOF rewrite may double the memory of Redis. */
const SHARE_OF_MEMORY = 1 / 4;
const MEMORY_MB_MIN = 100;

const shareOfMemory = (): number => Math.max(MEMORY_MB_MIN, Math.floor((memoryLimit() * SHARE_OF_MEMORY) / 2 ** 20));

const quoted = (text: string): string => `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;

function dockerRun(image: string, dataFolder: string, port: number): [string, ...string[]] {
  // Derived from the folder, so that the container of a killed start is found and removed.
  const name = `flash-sale-redis-${createHash('sha256').update(dataFolder).digest('hex').slice(0, 12)}`;
  const user = `${process.getuid?.() ?? 0}:${process.getgid?.() ?? 0}`;
  const run = ['run', '--rm', '--name', name, '--user', user, '--entrypoint', 'redis-server'];
  run.push('-p', `127.0.0.1:${port}:${port}`, '-v', `${dataFolder}:/data`, image, '/data/redis.conf');
  return ['/bin/sh', '-c', 'docker rm -f "$0" >/dev/null 2>&1; exec docker "$@"', name, ...run];
}

async function pullImage(
  image: string,
  say: (line: string) => void = () => {},
  signal = new AbortController().signal,
): Promise<void> {
  if (!(await runCommand('docker', ['image', 'inspect', image])).failed) return;
  say(`docker pull ${image}`);
  const pull = { timeout: PULL_WITHIN_MS, cancelSignal: signal };
  const { failed, stderr = '' } = await runCommand('docker', ['pull', image], pull);
  if (!failed) return;
  throw new Error(
    `No Redis was found on this machine, and its image could not be pulled with Docker (${stderr.trim()}). ` +
      'Install Redis 7 or newer, or set REDIS_URL=redis://user:password@host:6379',
  );
}

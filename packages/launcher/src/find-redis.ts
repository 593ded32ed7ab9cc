/**
 * Finds a Redis to run as a private server: on PATH, in usual places, unpacked earlier, from
 * Debian, in Docker.
 */
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { REDIS_MAJOR_MIN } from '@flash-sale/core/config/limits.ts';
import { type DebianProgram, type UnpackedProgram, unpackDebianProgram, unpackedProgram } from './debian-program.ts';
import { runCommand } from './run-command.ts';

const REDIS_IMAGE = 'redis:8-bookworm';

/** Folders of package managers that may not be on PATH. */
const USUAL_PLACES = ['/opt/homebrew/bin', '/usr/local/bin', '/usr/bin', '/usr/sbin', '/snap/bin', '/opt/local/bin'];

/** Valkey is a compatible fork of Redis. */
export const REDIS: DebianProgram = {
  called: `Redis ${REDIS_MAJOR_MIN}`,
  names: ['redis-server', 'valkey-server'],
  majorMin: REDIS_MAJOR_MIN,
  carriesCode: /^(lib|redis|valkey)/,
};

export type FoundRedis =
  | { readonly kind: 'binary'; readonly path: string; readonly version: string; readonly libraryPath?: string }
  | { readonly kind: 'docker'; readonly image: string };

/**
 * @param options.distFolder of a Redis unpacked from Debian packages
 * @throws Error that says what to do if there is none
 */
export async function findRedis(options: {
  distFolder: string;
  usualPlaces?: readonly string[];
  say?: ((line: string) => void) | undefined;
  signal?: AbortSignal | undefined;
}): Promise<FoundRedis> {
  const { distFolder, usualPlaces = USUAL_PLACES, say, signal } = options;
  const tried: string[] = [];
  for await (const program of candidates()) {
    if (typeof program === 'string') {
      tried.push(program);
      continue;
    }
    const version = await redisVersion(program);
    if (Number.parseInt(version, 10) >= REDIS_MAJOR_MIN) return { kind: 'binary', version, ...program };
    tried.push(version === '' ? `${program.path} does not run here` : `${program.path} is version ${version}`);
  }
  const docker = await runCommand('docker', ['info', '--format', '{{.ServerVersion}}'], { timeout: 15_000 });
  if (docker.stdout?.trim() && !docker.failed) return { kind: 'docker', image: REDIS_IMAGE };
  tried.push(docker.code === 'ENOENT' ? 'there is no Docker' : 'Docker does not answer');
  throw new Error(whatToDo(tried));

  /** Programs, and clauses that say why there is none. */
  async function* candidates(): AsyncGenerator<UnpackedProgram | string> {
    const folders = [...(process.env.PATH ?? '').split(delimiter), ...usualPlaces].filter((folder) => folder !== '');
    const paths = new Set(folders.flatMap((folder) => REDIS.names.map((name) => join(folder, name))));
    for (const path of paths) if (existsSync(path)) yield { path };
    const unpacked = unpackedProgram(distFolder, REDIS);
    if (unpacked) yield unpacked;
    if (process.platform === 'linux')
      yield await unpackDebianProgram({ program: REDIS, folder: distFolder, say, signal });
  }
}

/** The error message: what is missing, how to fix it, and what was tried. */
function whatToDo(tried: readonly string[]): string {
  const install =
    process.platform === 'darwin'
      ? '"brew install redis"'
      : '"apt-get install redis-server", "dnf install valkey", or your package manager';
  return (
    `No Redis ${REDIS_MAJOR_MIN} or newer was found on this machine. Install one (${install}) and run "npm start" again; ` +
    'or start Docker, so that Redis runs in a container; or use a running Redis: ' +
    `REDIS_URL=redis://user:password@host:6379 npm start. (Tried: ${['PATH and the usual places', ...tried].join('; ')}.)`
  );
}

/** From "Redis server v=7.0.15 sha=…" or "Valkey server v=8.0 …". @returns '' if it does not run */
async function redisVersion({ path, libraryPath }: UnpackedProgram): Promise<string> {
  const env = libraryPath === undefined ? {} : { LD_LIBRARY_PATH: libraryPath };
  const { failed, stdout = '' } = await runCommand(path, ['--version'], { timeout: 10_000, env });
  return failed ? '' : (/\bv=(\d+(?:\.\d+)*)/.exec(stdout)?.[1] ?? '');
}

/**
 * Finds a Redis to run as a private server: on PATH, in usual places, unpacked earlier, from
 * Debian, in Docker.
 */
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { REDIS_MAJOR_MIN } from '@flash-sale/core/config/limits.ts';
import { type DebianProgram, type UnpackedProgram, unpackDebianProgram, unpackedProgram } from './debian-program.ts';
import { type RunCommand, runCommand } from './run-command.ts';

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

export interface FindOptions {
  /** Folder of a Redis unpacked from Debian packages. */
  readonly distFolder: string;
  /** PATH. */
  readonly searchPath: string | undefined;
  readonly usualPlaces?: readonly string[];
  readonly run?: RunCommand;
  readonly say?: (line: string) => void;
}

/** No Redis was found; the message says what to do. */
export class RedisMissingError extends Error {
  override name = 'RedisMissingError';
}

export async function findRedis(options: FindOptions): Promise<FoundRedis> {
  const { distFolder, searchPath = '', usualPlaces = USUAL_PLACES, run = runCommand, say = () => {} } = options;
  const tried: string[] = [];
  const accept = async (program: UnpackedProgram): Promise<FoundRedis | undefined> => {
    const version = await redisVersion(program, run);
    if (version !== undefined && Number.parseInt(version, 10) >= REDIS_MAJOR_MIN)
      return { kind: 'binary', version, ...program };
    tried.push(version === undefined ? `${program.path} does not run here` : `${program.path} is version ${version}`);
    return undefined;
  };
  const folders = [...searchPath.split(delimiter), ...usualPlaces].filter((folder) => folder !== '');
  const paths = folders.flatMap((folder) => REDIS.names.map((name) => join(folder, name)));
  for (const path of new Set(paths)) {
    const found = existsSync(path) && (await accept({ path }));
    if (found) return found;
  }
  const unpacked = unpackedProgram(distFolder, REDIS);
  const kept = unpacked && (await accept(unpacked));
  if (kept) return kept;
  if (process.platform === 'linux') {
    const fetched = await unpackDebianProgram({ program: REDIS, folder: distFolder, run, say });
    if (typeof fetched === 'string') tried.push(fetched);
    const found = typeof fetched !== 'string' && (await accept(fetched));
    if (found) return found;
  }
  const docker = await run('docker', ['info', '--format', '{{.ServerVersion}}'], { timeoutMs: 15_000 });
  if (docker.code === 0 && docker.stdout.trim() !== '') return { kind: 'docker', image: REDIS_IMAGE };
  tried.push(docker.code === 127 ? 'there is no Docker' : 'Docker does not answer');
  throw new RedisMissingError(whatToDo(tried));
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

/** Parses "Redis server v=7.0.15 sha=…", "Valkey server v=8.0.1 sha=…". */
async function redisVersion({ path, libraryPath }: UnpackedProgram, run: RunCommand): Promise<string | undefined> {
  const env = libraryPath === undefined ? {} : { env: { LD_LIBRARY_PATH: libraryPath } };
  const { code, stdout } = await run(path, ['--version'], { timeoutMs: 10_000, ...env });
  return code === 0 ? /\bv=(\d+(?:\.\d+)*)/.exec(stdout)?.[1] : undefined;
}

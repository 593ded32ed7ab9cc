/** Looks for a Redis that can be run privately: on PATH, in the usual places, unpacked earlier, from Debian, by Docker. */
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { REDIS_MAJOR_MIN } from '@flash-sale/core/config/limits.ts';
import { type DebianProgram, unpackDebianProgram, unpackedProgram } from './debian-program.ts';
import { type RunCommand, runCommand } from './run-command.ts';

/** The image that is run where there is no binary. */
export const REDIS_IMAGE = 'redis:8-bookworm';

/** Where package managers put it without always putting it on PATH. */
const USUAL_PLACES = ['/opt/homebrew/bin', '/usr/local/bin', '/usr/bin', '/usr/sbin', '/snap/bin', '/opt/local/bin'];

/** Either has it, whatever it is called there. */
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
  /** Where a Redis from Debian's packages is unpacked, and found again. */
  readonly distFolder: string;
  /** PATH. */
  readonly searchPath: string | undefined;
  readonly usualPlaces?: readonly string[];
  readonly run?: RunCommand;
  readonly isRoot?: boolean;
  readonly say?: (line: string) => void;
}

/** No Redis can be had on this machine; the message is one paragraph that says what to do. */
export class RedisMissingError extends Error {
  override name = 'RedisMissingError';
}

export async function findRedis(options: FindOptions): Promise<FoundRedis> {
  const { run = runCommand, isRoot = process.getuid?.() === 0, say = () => {} } = options;
  const reasons: string[] = [];
  const folders = [...(options.searchPath ?? '').split(delimiter), ...(options.usualPlaces ?? USUAL_PLACES)];
  for (const path of executables(folders)) {
    const version = await redisVersion(path, run);
    if (version === undefined) continue;
    if (isNewEnough(version)) return { kind: 'binary', path, version };
    reasons.push(`${path} is version ${version}`);
  }
  const unpacked = unpackedProgram(options.distFolder, REDIS);
  if (unpacked !== undefined) {
    const version = await redisVersion(unpacked.path, run, unpacked.libraryPath);
    if (version !== undefined && isNewEnough(version)) return { kind: 'binary', version, ...unpacked };
  }
  if (process.platform === 'linux') {
    const fetched = await unpackDebianProgram({ program: REDIS, folder: options.distFolder, run, isRoot, say });
    if (typeof fetched !== 'string') {
      const version = await redisVersion(fetched.path, run, fetched.libraryPath);
      if (version !== undefined && isNewEnough(version)) return { kind: 'binary', version, ...fetched };
      reasons.push(`the one from Debian's packages ${version === undefined ? 'does not run here' : `is ${version}`}`);
    } else reasons.push(fetched);
  }
  const docker = await run('docker', ['info', '--format', '{{.ServerVersion}}'], { timeoutMs: 15_000 });
  if (docker.code === 0 && docker.stdout.trim() !== '') return { kind: 'docker', image: REDIS_IMAGE };
  reasons.push(docker.code === 127 ? 'there is no Docker' : 'Docker does not answer');
  throw new RedisMissingError(whatToDo(reasons));
}

export function isNewEnough(version: string): boolean {
  return Number.parseInt(version, 10) >= REDIS_MAJOR_MIN;
}

/** One paragraph for a person: what is missing, the ways out, and what was tried. */
function whatToDo(reasons: readonly string[]): string {
  const install =
    process.platform === 'darwin'
      ? '"brew install redis"'
      : '"apt-get install redis-server", "dnf install valkey", or your system\'s own way';
  return (
    `No Redis ${REDIS_MAJOR_MIN} or newer was found on this machine, and the sale's stock lives in Redis. Install one (${install}) ` +
    'and type "npm start" again; or start Docker, and it is run from there; or use one that runs elsewhere: ' +
    `REDIS_URL=redis://user:password@host:6379 npm start. (Tried: ${['PATH and the usual places', ...reasons].join('; ')}.)`
  );
}

function executables(folders: readonly string[]): string[] {
  const paths = folders
    .filter((folder) => folder !== '')
    .flatMap((folder) => REDIS.names.map((name) => join(folder, name)));
  return [...new Set(paths)].filter((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** "Redis server v=7.0.15 sha=…", "Valkey server v=8.0.1 sha=…" */
async function redisVersion(path: string, run: RunCommand, libraryPath?: string): Promise<string | undefined> {
  const env = libraryPath === undefined ? {} : { env: { LD_LIBRARY_PATH: libraryPath } };
  const { code, stdout } = await run(path, ['--version'], { timeoutMs: 10_000, ...env });
  return code === 0 ? /\bv=(\d+(?:\.\d+)*)/.exec(stdout)?.[1] : undefined;
}

/**
 * Downloads a program from Debian or Ubuntu packages with apt and unpacks it into a folder, without
 * installing it.
 */
import { existsSync, mkdirSync, readdirSync, realpathSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { runCommand } from './run-command.ts';

export interface DebianProgram {
  /** Name for messages, with the minimum version: "Redis 7". */
  readonly called: string;
  /** Names of the program and of its package; the first that is new enough is used. */
  readonly names: readonly string[];
  readonly majorMin: number;
  /**
   * Packages with the program or its libraries. Other dependencies (users, init scripts) are not
   * needed.
   */
  readonly carriesCode: RegExp;
}

export interface UnpackedProgram {
  readonly path: string;
  /** LD_LIBRARY_PATH; absent: the system's libraries. */
  readonly libraryPath?: string;
}

interface UnpackOptions {
  readonly program: DebianProgram;
  readonly folder: string;
  readonly say?: ((line: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Short, so that a mirror that does not answer does not delay the first start for minutes. */
const APT_OPTIONS = ['Acquire::http::Timeout=20', 'Acquire::https::Timeout=20', 'Acquire::Retries=1'];
const UPDATE_WITHIN_MS = 180_000;
const DOWNLOAD_WITHIN_MS = 300_000;

/** @returns the program that an earlier start unpacked, if any */
export function unpackedProgram(folder: string, { names }: DebianProgram): UnpackedProgram | undefined {
  // Daemons are in sbin.
  for (const bin of [join(folder, 'usr', 'bin'), join(folder, 'usr', 'sbin')]) {
    const name = names.find((one) => existsSync(join(bin, one)));
    // Resolve the folder only: redis-server is a link to redis-check-rdb and acts according to its
    // argv[0].
    if (name !== undefined) return { path: join(realpathSync(bin), name), libraryPath: libraryFolders(folder) };
  }
  return undefined;
}

/** @returns the unpacked program, or the reason for the failure, as a clause */
export async function unpackDebianProgram(options: UnpackOptions): Promise<UnpackedProgram | string> {
  const { program, folder, say = () => {}, signal = new AbortController().signal } = options;
  const run = runCommand({ cancelSignal: signal, env: { LC_ALL: 'C' } });
  const isRoot = process.getuid?.() === 0;
  // The account _apt may have no access to this folder.
  const settings = isRoot ? [...APT_OPTIONS, 'APT::Sandbox::User=root'] : APT_OPTIONS;
  const apt = settings.flatMap((setting) => ['-o', setting]);

  async function unpack(): Promise<UnpackedProgram | string> {
    const packages = await findPackages();
    if (packages.length === 0) return `apt knows no ${program.called} or newer`;
    say(`downloads ${packages.join(', ')} with apt-get (into DATA_DIR, not system-wide)`);
    const draft = `${folder}.new-${process.pid}`;
    const downloads = join(draft, 'packages');
    try {
      mkdirSync(downloads, { recursive: true });
      const bounds = { cwd: downloads, timeout: DOWNLOAD_WITHIN_MS };
      const downloaded = await run('apt-get', [...apt, 'download', ...packages], bounds);
      if (downloaded.failed) return `apt-get download failed (${lastLine(downloaded.stderr)})`;
      for (const file of readdirSync(downloads)) {
        const extracted = await run('dpkg', ['-x', join(downloads, file), draft]);
        if (extracted.failed) return `dpkg could not unpack ${file} (${lastLine(extracted.stderr)})`;
      }
      rmSync(downloads, { recursive: true });
      rmSync(folder, { recursive: true, force: true });
      renameSync(draft, folder);
    } finally {
      rmSync(draft, { recursive: true, force: true });
    }
    return unpackedProgram(folder, program) ?? `the package ${packages[0]} has no ${packages[0]}`;
  }

  async function findPackages(): Promise<string[]> {
    for (const name of program.names) {
      const plan = await run('apt-get', ['install', '--simulate', '--no-install-recommends', name]);
      const packages = packagesIn(plan.stdout ?? '', name, program);
      if (packages.length > 0) return packages;
    }
    return [];
  }

  for (const tool of ['apt-get', 'dpkg'])
    if ((await run(tool, ['--version'])).failed) return `this system has no ${tool}`;
  const unpacked = await unpack();
  if (typeof unpacked !== 'string' || !isRoot) return unpacked;
  // The package lists may be missing, or name files that the mirror no longer has.
  say('apt-get update');
  await run('apt-get', [...apt, 'update'], { timeout: UPDATE_WITHIN_MS });
  return unpack();
}

/**
 * Parses `apt-get install --simulate`. Skips upgrades ("Inst libc6 [2.36-9] (2.36-10 …"), which are
 * installed already.
 *
 * @returns the package `name` and those of its dependencies that it needs; none if it is too old
 */
export function packagesIn(plan: string, name: string, { majorMin, carriesCode }: DebianProgram): string[] {
  const lines = [...plan.matchAll(/^Inst (\S+) (\[\S+\] )?\((?:\d+:)?(\d+)/gm)];
  const isNewEnough = lines.some(([, one, , major]) => one === name && Number(major) >= majorMin);
  const others = lines.flatMap(([, one = '', upgrade]) => (!upgrade && carriesCode.test(one) ? [one] : []));
  // Debian's redis-server is a link into redis-tools, which may be installed already.
  const tools = name.replace(/-server$/, '-tools');
  return isNewEnough ? [...new Set([name, tools, ...others])] : [];
}

/** @returns all folders with shared libraries, as LD_LIBRARY_PATH */
function libraryFolders(root: string): string {
  const entries = ['usr/lib', 'lib']
    .map((top) => join(root, top))
    .filter((top) => existsSync(top))
    .flatMap((top) => readdirSync(top, { recursive: true, withFileTypes: true }));
  const libraries = entries.filter(({ name }) => /\.so(\.|$)/.test(name));
  return [...new Set(libraries.map(({ parentPath }) => parentPath))].join(':');
}

const lastLine = (text = ''): string => text.trim().split('\n').at(-1) ?? '';

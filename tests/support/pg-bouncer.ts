/** A real PgBouncer in transaction mode: on PATH, unpacked earlier, or from Debian's package without installing anything. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import {
  type DebianProgram,
  type UnpackedProgram,
  unpackDebianProgram,
  unpackedProgram,
} from '@flash-sale/launcher/debian-program.ts';
import { runCommand } from '@flash-sale/launcher/run-command.ts';
import pg from 'pg';
import { root } from '../tidy/source-files.ts';
import { freePort } from './free-port.ts';
import { eventually } from './world.ts';

const PGBOUNCER: DebianProgram = {
  called: 'PgBouncer 1',
  names: ['pgbouncer'],
  majorMin: 1,
  carriesCode: /^(pgbouncer|libevent|libc-ares)/,
};

/** What our pools ask for as they connect, and PgBouncer must let pass without carrying it to the server. */
const LET_PASS = 'extra_float_digits,statement_timeout,lock_timeout,idle_in_transaction_session_timeout';

async function findPgBouncer(): Promise<UnpackedProgram> {
  for (const path of ['pgbouncer', '/usr/sbin/pgbouncer'])
    if ((await runCommand(path, ['--version'])).code === 0) return { path, libraryPath: '' };
  const folder = join(root, '.data', 'pgbouncer-dist');
  mkdirSync(dirname(folder), { recursive: true });
  const found = unpackedProgram(folder, PGBOUNCER) ?? (await unpackDebianProgram({ program: PGBOUNCER, folder }));
  if (typeof found === 'string')
    throw new Error(
      `PgBouncer is not on PATH, and its package could not be fetched (${found}): apt-get install pgbouncer`,
    );
  return found;
}

export interface PgBouncer {
  /** The same address, by way of it. */
  by(databaseUrl: string): string;
  stop(): Promise<void>;
}

/**
 * @param options.letPass ignore_startup_parameters
 * @param options.poolSize connections to the server, of one database
 */
export async function startPgBouncer(
  folder: string,
  databaseUrl: string,
  options: { letPass?: string; poolSize?: number } = {},
): Promise<PgBouncer> {
  const { letPass = LET_PASS, poolSize = 8 } = options;
  const { path, libraryPath } = await findPgBouncer();
  const port = await freePort();
  const server = new URL(databaseUrl);
  const userFile = join(folder, 'users.txt');
  const configFile = join(folder, 'pgbouncer.ini');
  writeFileSync(userFile, `"${decodeURIComponent(server.username)}" "${decodeURIComponent(server.password)}"\n`);
  const lines = [
    '[databases]',
    `* = host=${server.hostname} port=${server.port}`,
    '[pgbouncer]',
    'listen_addr = 127.0.0.1',
    `listen_port = ${port}`,
    'unix_socket_dir =',
    'auth_type = scram-sha-256',
    `auth_file = ${userFile}`,
    'pool_mode = transaction',
    `default_pool_size = ${poolSize}`,
    'max_client_conn = 300',
    `ignore_startup_parameters = ${letPass}`,
  ];
  writeFileSync(configFile, `${lines.join('\n')}\n`);
  // It refuses root, as PostgreSQL does.
  const account = process.getuid?.() === 0 ? ['-u', 'nobody'] : [];
  chmodSync(folder, 0o755);
  for (const file of [userFile, configFile]) chmodSync(file, 0o644);
  const child = spawn(path, [...account, configFile], {
    env: { PATH: process.env.PATH, LD_LIBRARY_PATH: libraryPath },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk));
  const gone = once(child, 'exit');
  const by = (url: string): string => {
    const changed = new URL(url);
    changed.hostname = '127.0.0.1';
    changed.port = String(port);
    return changed.href;
  };
  await eventually('PgBouncer answers', 15_000, async () => {
    if (child.exitCode !== null) throw new Error(`PgBouncer ended (${child.exitCode}):\n${output}`);
    const client = new pg.Client({ connectionString: by(databaseUrl), connectionTimeoutMillis: 1_000 });
    client.on('error', () => {});
    const answered = await client.connect().then(
      () => true,
      () => false,
    );
    await client.end().catch(() => {});
    return answered;
  });
  return {
    by,
    async stop() {
      child.kill('SIGKILL');
      await gone;
    },
  };
}

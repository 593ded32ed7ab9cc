/** A real PgBouncer in transaction mode. */
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { freePort } from './free-port.ts';
import { findProgram, startProgram } from './program.ts';

/** Parameters of our pools that PgBouncer must accept without passing them on. */
const LET_PASS = 'extra_float_digits,statement_timeout,lock_timeout,idle_in_transaction_session_timeout';

export interface PgBouncer {
  /** The same address, through it. */
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
  const program = await findProgram('pgbouncer', { majorMin: 1, libraries: /^(libevent|libc-ares)/ });
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
  const by = (url: string): string => {
    const changed = new URL(url);
    changed.hostname = '127.0.0.1';
    changed.port = String(port);
    return changed.href;
  };
  const { stop } = await startProgram(program, [...account, configFile], {
    async answers() {
      const client = new pg.Client({ connectionString: by(databaseUrl), connectionTimeoutMillis: 1_000 });
      client.on('error', () => {});
      await client.connect().finally(() => client.end().catch(() => {}));
      return true;
    },
  });
  return { by, stop };
}

/** What PostgreSQL says of itself, and of our way in. It only reads. */

import { lookAtPostgres } from '@flash-sale/core/ledger/check-postgres.ts';
import { type ClockReading, readClock } from '@flash-sale/core/runtime/read-clock.ts';
import type pg from 'pg';

export interface SeenPostgres {
  readonly host: string;
  /** "18.4" */
  readonly version: string;
  /** false: it let us in without asking who we are. */
  readonly asksForLogin: boolean;
  /** Of our connection. */
  readonly tls: boolean;
  readonly standby: boolean;
  /** Of our sessions by default, as the next two. */
  readonly readOnly: boolean;
  /** "read committed" */
  readonly isolation: string;
  readonly synchronousCommit: string;
  readonly fsync: boolean;
  readonly fullPageWrites: boolean;
  readonly maxConnections: number;
  /** Of these, for its own people. */
  readonly reserved: number;
  /** What role and database allow us; null: as many as there are. */
  readonly boundOfLogin: number | null;
  /** Connections of API processes and workers, of all machines. */
  readonly ours: number;
  /** Connections that are neither theirs nor this look's. */
  readonly usedByOthers: number;
  /** Where it keeps its data, on its own machine; null: our role may not ask. */
  readonly dataFolder: string | null;
  readonly clock: ClockReading;
}

/**
 * @param timeoutMs milliseconds that the connection, and then each answer, may take
 * @throws PostgresUnfitError where nobody answers, or the login or the database is refused
 */
export function readPostgres(url: string, timeoutMs: number): Promise<SeenPostgres> {
  return lookAtPostgres(url, timeoutMs, async (client) => {
    const settings = await readSettings(client);
    const setting = (name: string): string => settings.get(name) ?? '';
    return {
      host: client.host,
      version: setting('server_version'),
      asksForLogin: await asksForLogin(client, Number.parseInt(setting('server_version'), 10)),
      readOnly: setting('default_transaction_read_only') === 'on',
      isolation: setting('default_transaction_isolation'),
      synchronousCommit: setting('synchronous_commit'),
      fsync: setting('fsync') === 'on',
      fullPageWrites: setting('full_page_writes') === 'on',
      maxConnections: Number(setting('max_connections')),
      // The second one came with version 16.
      reserved: Number(setting('superuser_reserved_connections')) + Number(setting('reserved_connections')),
      // Who may not ask is shown no such row.
      dataFolder: settings.get('data_directory') ?? null,
      ...(await readSession(client)),
      clock: await readClock(async () => {
        const { rows } = await client.query<{ ms: string }>(
          'SELECT extract(epoch FROM clock_timestamp()) * 1000 AS ms',
        );
        return Number(rows[0]?.ms);
      }),
    };
  });
}

const SETTINGS = [
  'server_version',
  'default_transaction_read_only',
  'default_transaction_isolation',
  'synchronous_commit',
  'fsync',
  'full_page_writes',
  'max_connections',
  'superuser_reserved_connections',
  'reserved_connections',
  'data_directory',
];

async function readSettings(client: pg.Client): Promise<Map<string, string>> {
  const { rows } = await client.query<{ name: string; setting: string }>(
    'SELECT name, setting FROM pg_settings WHERE name = ANY($1)',
    [SETTINGS],
  );
  return new Map(rows.map(({ name, setting }) => [name, setting]));
}

/** Before version 16 it does not say how we got in; then a password in the address is all there is to go by. */
async function asksForLogin(client: pg.Client, major: number): Promise<boolean> {
  if (major < 16) return Boolean(client.password);
  const { rows } = await client.query<{ system_user: string | null }>('SELECT system_user');
  return rows[0]?.system_user != null;
}

type Session = Pick<SeenPostgres, 'tls' | 'standby' | 'boundOfLogin' | 'ours' | 'usedByOthers'>;

async function readSession(client: pg.Client): Promise<Session> {
  // numbackends needs no rights. Of pg_stat_activity everybody sees at least the sessions of his own role, and ours have one.
  const { rows } = await client.query<{
    tls: boolean;
    standby: boolean;
    role_bound: number;
    database_bound: number;
    all_used: number;
    ours: number;
  }>(
    `SELECT coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS tls,
            pg_is_in_recovery() AS standby,
            (SELECT rolconnlimit FROM pg_roles WHERE rolname = session_user) AS role_bound,
            (SELECT datconnlimit FROM pg_database WHERE datname = current_database()) AS database_bound,
            (SELECT sum(numbackends)::int FROM pg_stat_database) AS all_used,
            (SELECT count(*)::int FROM pg_stat_activity
              WHERE pid <> pg_backend_pid() AND application_name IN ('flash-sale-api', 'flash-sale-worker')) AS ours`,
  );
  const row = rows[0];
  if (!row) throw new Error('no row of one that is always there');
  const bounds = [row.role_bound, row.database_bound].filter((bound) => bound >= 0);
  return {
    tls: row.tls,
    standby: row.standby,
    boundOfLogin: bounds.length === 0 ? null : Math.min(...bounds),
    ours: row.ours,
    // Less this look.
    usedByOthers: Math.max(row.all_used - row.ours - 1, 0),
  };
}

/** PostgreSQL: reads the server and our connection, and checks both. It reads one of our rows. */
import type { Environment } from '@flash-sale/core/config/environment.ts';
import { POSTGRES_MAJOR_MIN, WORKER_LOOP_CONNECTIONS } from '@flash-sale/core/config/limits.ts';
import { isLoopback } from '@flash-sale/core/config/loopback.ts';
import { withPostgres, writeFault } from '@flash-sale/core/ledger/check-postgres.ts';
import { readLedgerId } from '@flash-sale/core/ledger/ledger-id.ts';
import { checkMigrated } from '@flash-sale/core/ledger/migrate.ts';
import type pg from 'pg';
import { readClock } from './read-clock.ts';
import { type Check, type CheckResult, ok, type Scope, warning, wrong } from './report.ts';
import { weaknessOfAddress } from './secrets.ts';

/** Connections of what comes and goes: migrations, the audit, the doctor, a person. */
const CONNECTIONS_OF_COMMANDS = 5;

export type SeenPostgres = Awaited<ReturnType<typeof readPostgres>>;

/**
 * @param timeoutMs milliseconds for the connection, and then for each answer
 * @throws UnfitServerError if it does not answer, or refuses the login or the database
 */
export function readPostgres(url: string, timeoutMs: number) {
  return withPostgres(url, timeoutMs, async (client) => {
    const { rows } = await client.query<{ name: string; setting: string }>(
      'SELECT name, setting FROM pg_settings WHERE name = ANY($1)',
      [SETTINGS],
    );
    const settings = new Map(rows.map(({ name, setting }) => [name, setting]));
    return {
      host: client.host,
      /** null: no service has started on it yet; undefined: our role may not read it. */
      ledgerId: await readLedgerId(client).catch(() => undefined),
      /** Why our password is weak; null: it is not. */
      weakness: weaknessOfAddress(url),
      /** Of our session. Without data_directory if our role may not see it. */
      settings,
      /** Whether it let us in without a password. */
      isOpen: await isOpen(client, majorOf(settings)),
      ...(await readSession(client, url)),
      /** Why orders cannot be written; null: they can. */
      writeFault: await writeFault(client),
      clock: await readClock(async () => {
        const { rows } = await client.query('SELECT extract(epoch FROM clock_timestamp()) * 1000 AS ms');
        return Number(rows[0].ms);
      }),
      /** What the ledger's tables lack, as a sentence; null: nothing. */
      outdated: await checkMigrated(url).then(
        () => null,
        (error: Error) => error.message,
      ),
    };
  });
}

const SETTINGS = [
  'server_version',
  'default_transaction_isolation',
  'synchronous_commit',
  'fsync',
  'full_page_writes',
  'max_connections',
  'superuser_reserved_connections',
  'reserved_connections',
  'data_directory',
];

const majorOf = (settings: ReadonlyMap<string, string>): number =>
  Number.parseInt(settings.get('server_version') ?? '', 10);

/** Before version 16 the server does not report it: see whether our address has a password. */
async function isOpen(client: pg.Client, major: number): Promise<boolean> {
  if (major < 16) return !client.password;
  const { rows } = await client.query<{ system_user: string | null }>('SELECT system_user');
  return rows[0]?.system_user == null;
}

async function readSession(client: pg.Client, url: string) {
  // numbackends needs no rights. A role sees its own sessions in pg_stat_activity; ours share one.
  const { rows } = await client.query(
    `SELECT coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS tls,
            (SELECT rolconnlimit FROM pg_roles WHERE rolname = session_user) AS role_limit,
            (SELECT datconnlimit FROM pg_database WHERE datname = current_database()) AS database_limit,
            (SELECT sum(numbackends)::int FROM pg_stat_database) AS used,
            (SELECT count(*)::int FROM pg_stat_activity
              WHERE pid <> pg_backend_pid() AND application_name IN ('flash-sale-api', 'flash-sale-worker')) AS ours`,
  );
  const { tls, role_limit, database_limit, used, ours } = rows[0];
  const limits = [role_limit, database_limit].filter((limit: number) => limit >= 0);
  const query = URL.canParse(url) ? new URL(url).searchParams : new URLSearchParams();
  const mode = query.get('sslmode');
  const unverified = mode === 'no-verify' || (query.get('uselibpqcompat') === 'true' && mode !== 'verify-full');
  const verified = unverified ? ('unverified' as const) : ('verified' as const);
  return {
    /** Of our connection. `unverified`: the certificate is not checked. */
    tls: tls ? verified : ('none' as const),
    /** Connections that role and database allow us; null: as many as there are. */
    limitOfLogin: limits.length === 0 ? null : Math.min(...limits),
    /** Connections of API processes and workers, on all machines. */
    ours: ours as number,
    /** Connections of others, without this one. */
    others: Math.max(used - ours - 1, 0),
  };
}

export const POSTGRES_CHECKS: readonly Check<SeenPostgres>[] = [
  [
    'POSTGRES_ANSWERS',
    'PostgreSQL is the ledger: without it no order is confirmed.',
    ({ host, settings }) => {
      const found = `${host}, version ${settings.get('server_version')}`;
      return majorOf(settings) >= POSTGRES_MAJOR_MIN
        ? ok(found)
        : wrong(found, `Upgrade it to ${POSTGRES_MAJOR_MIN} or newer`);
    },
  ],
  [
    'POSTGRES_LOGIN',
    'Anyone who can write to the ledger can change what was sold.',
    ({ host, isOpen, weakness }) => {
      if (weakness !== null)
        return warning(`the password is ${weakness}`, `psql "$DATABASE_URL" -c '\\password'; the same in DATABASE_URL`);
      if (!isOpen) return ok('a password is required');
      const fix = 'Set scram-sha-256 instead of trust in pg_hba.conf, and a password in DATABASE_URL';
      const found = 'no password is required';
      return isLoopback(host) ? warning(`${found} on this machine`, fix) : wrong(found, fix);
    },
  ],
  [
    'POSTGRES_TLS',
    'Without TLS, anyone on the network can read the password, the buyers and the orders.',
    ({ host, tls }) => {
      const fix = '?sslmode=verify-full in DATABASE_URL, with &sslrootcert=/path/ca.pem for your own CA';
      if (tls === 'verified') return ok('TLS');
      if (tls === 'unverified') return warning('TLS, and the certificate is not verified', fix);
      return isLoopback(host)
        ? ok('none: this machine only')
        : warning(`none, and ${host} is another machine`, `${fix}; ssl = on in postgresql.conf`);
    },
  ],
  [
    'POSTGRES_WRITABLE',
    'A ledger that accepts no writes confirms no orders.',
    ({ writeFault: fault }) => (fault ? wrong(`it ${fault.found}`, fault.fix) : ok('yes')),
  ],
  ['POSTGRES_SETTINGS', 'A confirmed order is only in the ledger, so it must survive a crash.', checkSettings],
  ['POSTGRES_CONNECTIONS', 'A process that gets no connection cannot confirm or read orders.', checkConnections],
  [
    'POSTGRES_MIGRATIONS',
    'A process does not start on a ledger that is older than its code.',
    ({ outdated }) => (outdated === null ? ok('up to date') : wrong(outdated, 'npm run migrate')),
  ],
];

function set(what: string): string {
  return `psql "$DATABASE_URL" -c "ALTER SYSTEM SET ${what}" -c "SELECT pg_reload_conf()"`;
}

/**
 * Batches of one sale wait for each other and then read what the other wrote. A stricter isolation
 * level forbids that.
 */
function checkSettings({ settings }: SeenPostgres): CheckResult {
  const level = settings.get('default_transaction_isolation');
  const off = ['fsync', 'full_page_writes', 'synchronous_commit'].filter((name) => settings.get(name) === 'off');
  const faults = [
    ...off.map((name) => ({ found: `${name} is off`, fix: set(`${name} = on`) })),
    ...(level === 'read committed'
      ? []
      : [{ found: `default isolation ${level}`, fix: set("default_transaction_isolation = 'read committed'") }]),
  ];
  if (faults.length === 0) return ok(`durable (synchronous_commit ${settings.get('synchronous_commit')}), ${level}`);
  return wrong(faults.map(({ found }) => found).join(', '), faults.map(({ fix }) => fix).join('; '));
}

/** The settings count this machine's processes, the server those of all machines. */
function checkConnections(
  { settings, limitOfLogin, ours, others }: SeenPostgres,
  { API_PROCESSES: api, WORKER_PROCESSES: worker, DATABASE_POOL_SIZE: ofApi, WORKER_CONCURRENCY }: Environment,
  scope: Scope,
): CheckResult {
  const ofWorker = WORKER_CONCURRENCY + WORKER_LOOP_CONNECTIONS;
  const ofAll = api * ofApi + worker * ofWorker + CONNECTIONS_OF_COMMANDS;
  const needed = { api: ofApi, worker: ofWorker, all: ofAll }[scope];
  const isAll = scope === 'all';
  const what = isAll ? `${api} API × ${ofApi} + ${worker} worker × ${ofWorker} and commands` : 'this process';
  const number = (name: string): number => Number(settings.get(name) ?? 0);
  const max = number('max_connections');
  const free = max - number('superuser_reserved_connections') - number('reserved_connections');
  const room = Math.min(free, limitOfLogin ?? max);
  const found = `${needed} for ${what}; processes of all machines hold ${ours}, others ${others}, of ${room}`;
  const fix = `${set(`max_connections = ${max + needed}`)}, and a restart; or a lower DATABASE_POOL_SIZE`;
  if (isAll && needed > room) return wrong(found, fix);
  // A process that starts needs its connections on top of those that are open.
  const total = isAll ? Math.max(ours, needed) : ours + needed;
  return total + others > room ? warning(found, fix) : ok(found);
}

/** The ledger's server, by what it says of itself. */
import type { Environment } from '@flash-sale/core/config/environment.ts';
import { POSTGRES_MAJOR_MIN } from '@flash-sale/core/config/limits.ts';
import { isLoopback } from '@flash-sale/core/config/loopback.ts';
import type { ClockReading } from '@flash-sale/core/runtime/read-clock.ts';
import { CONNECTIONS_OF_COMMANDS } from './bounds.ts';
import { type Finding, ok, warning, wrong } from './checks.ts';
import { judgeLedgerClock } from './judge-clock.ts';
import type { SeenPostgres } from './read-postgres.ts';

/** @param clocksOfRedis of each server that was seen. @param process_ as of judgeFacts */
export function judgePostgres(
  seen: SeenPostgres,
  settings: Environment,
  { clocksOfRedis, process_ }: { clocksOfRedis: readonly ClockReading[]; process_: 'api' | 'worker' | 'all' },
): Finding[] {
  return [
    judgeVersion(seen),
    judgeLogin(seen),
    judgeTls(seen, settings),
    judgeWritable(seen),
    judgeIsolation(seen),
    judgeDurability(seen),
    process_ === 'all' ? judgeConnections(seen, settings) : judgeOwnConnections(seen, settings),
    judgeLedgerClock(seen.clock, clocksOfRedis),
  ];
}

/** @param outdated what is missing, as a sentence; null: nothing is */
export function judgeMigrations(outdated: string | null): Finding {
  return outdated === null
    ? ok('POSTGRES_MIGRATIONS', 'all carried out')
    : wrong('POSTGRES_MIGRATIONS', outdated, 'npm run migrate');
}

function judgeVersion({ version }: SeenPostgres): Finding {
  return Number.parseInt(version, 10) >= POSTGRES_MAJOR_MIN
    ? ok('POSTGRES_VERSION', version)
    : wrong('POSTGRES_VERSION', version, `upgrade it to ${POSTGRES_MAJOR_MIN} or newer`);
}

function judgeLogin({ host, asksForLogin }: SeenPostgres): Finding {
  if (asksForLogin) return ok('POSTGRES_LOGIN', 'a login is asked for');
  const mend = 'scram-sha-256 instead of trust in its pg_hba.conf, a password for the role, and in DATABASE_URL';
  return isLoopback(host)
    ? warning('POSTGRES_LOGIN', 'no password is asked for: everybody on this machine may write to it', mend)
    : wrong('POSTGRES_LOGIN', 'no password is asked for', mend);
}

function judgeTls({ host, tls }: SeenPostgres, { DATABASE_URL: url = '' }: Environment): Finding {
  const query = URL.canParse(url) ? new URL(url).searchParams : new URLSearchParams();
  // What the client library takes for "whoever answers".
  const unverified =
    query.get('sslmode') === 'no-verify' ||
    (query.get('uselibpqcompat') === 'true' && query.get('sslmode') !== 'verify-full');
  if (tls && unverified) {
    return warning(
      'POSTGRES_TLS',
      'TLS, and nobody looks whose certificate it is',
      '?sslmode=verify-full at the end of DATABASE_URL, with &sslrootcert=/path/ca.pem where the CA is your own',
    );
  }
  if (tls) return ok('POSTGRES_TLS', 'TLS');
  return isLoopback(host)
    ? ok('POSTGRES_TLS', 'none: this machine only')
    : warning(
        'POSTGRES_TLS',
        `none, and ${host} is another machine`,
        '?sslmode=verify-full at the end of DATABASE_URL, and ssl = on there',
      );
}

function judgeWritable({ standby, readOnly }: SeenPostgres): Finding {
  if (standby) return wrong('POSTGRES_WRITABLE', 'it is a standby', 'the address of its primary in DATABASE_URL');
  return readOnly
    ? wrong('POSTGRES_WRITABLE', 'default_transaction_read_only is on', set('default_transaction_read_only = off'))
    : ok('POSTGRES_WRITABLE', 'yes');
}

function judgeIsolation({ isolation }: SeenPostgres): Finding {
  return isolation === 'read committed'
    ? ok('POSTGRES_ISOLATION', isolation)
    : wrong('POSTGRES_ISOLATION', isolation, set("default_transaction_isolation = 'read committed'"));
}

function judgeDurability({ fsync, fullPageWrites, synchronousCommit }: SeenPostgres): Finding {
  const off = [
    ...(fsync ? [] : ['fsync']),
    ...(fullPageWrites ? [] : ['full_page_writes']),
    ...(synchronousCommit === 'off' ? ['synchronous_commit'] : []),
  ];
  return off.length === 0
    ? ok('POSTGRES_DURABILITY', `fsync on, full_page_writes on, synchronous_commit ${synchronousCommit}`)
    : wrong('POSTGRES_DURABILITY', `off: ${off.join(', ')}`, off.map((name) => set(`${name} = on`)).join('; '));
}

/** Those that the login may still have: less what is kept for PostgreSQL's own people. */
const roomOf = ({ maxConnections, reserved, boundOfLogin }: SeenPostgres): number =>
  Math.min(maxConnections - reserved, boundOfLogin ?? maxConnections);

const moreConnections = ({ maxConnections }: SeenPostgres, by: number): string =>
  `${set(`max_connections = ${maxConnections + by}`)} (and start it again); or a lower DATABASE_POOL_SIZE`;

/** What these settings need, or what all machines' processes have by now, whichever is more: a setting tells of one machine only. */
function judgeConnections(seen: SeenPostgres, settings: Environment): Finding {
  const { DATABASE_POOL_SIZE: pool, API_PROCESSES: apis, WORKER_PROCESSES: workers } = settings;
  const { ours, usedByOthers } = seen;
  const room = roomOf(seen);
  const needed = pool * (apis + workers) + CONNECTIONS_OF_COMMANDS;
  const found = `${needed} for ${apis} API + ${workers} worker × ${pool} and commands; processes of all machines have ${ours}, others have ${usedByOthers} of ${room}`;
  const mend = moreConnections(seen, needed);
  if (needed > room) return wrong('POSTGRES_CONNECTIONS', found, mend);
  return Math.max(needed, ours) + usedByOthers > room
    ? warning('POSTGRES_CONNECTIONS', found, mend)
    : ok('POSTGRES_CONNECTIONS', found);
}

/** Of a process that starts: its pool comes on top of all that there are. */
function judgeOwnConnections(seen: SeenPostgres, { DATABASE_POOL_SIZE: pool }: Environment): Finding {
  const { ours, usedByOthers } = seen;
  const room = roomOf(seen);
  const found = `${pool} for this process; processes of all machines have ${ours}, others have ${usedByOthers} of ${room}`;
  return ours + usedByOthers + pool > room
    ? warning('POSTGRES_CONNECTIONS', found, moreConnections(seen, pool))
    : ok('POSTGRES_CONNECTIONS', found);
}

function set(what: string): string {
  return `psql "$DATABASE_URL" -c "ALTER SYSTEM SET ${what}" -c "SELECT pg_reload_conf()"`;
}

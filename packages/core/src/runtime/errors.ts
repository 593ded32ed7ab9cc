/**
 * Tells from a fault which part it came from, by the words and codes of the client libraries. One place, because they are
 * not ours and may change with a library.
 */

export type Dependency = 'redis' | 'postgres';

/** The call was not made: the part has not answered for a while. */
export class DependencyUnavailableError extends Error {
  override name = 'DependencyUnavailableError';
  readonly part: Dependency;
  constructor(part: Dependency) {
    super(`${part} does not answer; the call was not made`);
    this.part = part;
  }
}

/** The call was made, and the time that the request had for it is used up. */
export class NoAnswerInTimeError extends Error {
  override name = 'NoAnswerInTimeError';
  readonly part: Dependency;
  constructor(part: Dependency) {
    super(`${part} did not answer within the time of the request`);
    this.part = part;
  }
}

const redisWords = [
  "isn't writeable and enableOfflineQueue", // not sent: no connection
  'Connection is closed.',
  'Command timed out',
  'max retries per request limit', // the connection broke while the answer was awaited
  "Cluster isn't ready and enableOfflineQueue", // not sent: no node is known
  'None of startup nodes is available',
  'Failed to refresh slots cache',
  'Too many Cluster redirections',
  'Cluster is ended',
  'All sentinels are unreachable',
];

/**
 * Redis answers, and refuses every command before it runs: loading, full, not writable, not logged in, its slot is on its way … Of redirections
 * there were too many: one that answers a request is sent again only where a node refused it so (openRedis), and the last one did, too.
 */
const redisRefusals =
  /^(Too many Cluster redirections\. Last error: \w+: )?(LOADING|BUSY|OOM|READONLY|MISCONF|MASTERDOWN|NOREPLICAS|CLUSTERDOWN|TRYAGAIN|MOVED|ASK|NOAUTH|WRONGPASS|NOPERM)\b/;

const postgresWords = [
  'Connection terminated',
  'timeout exceeded when trying to connect',
  'Query read timeout',
  'Client has encountered a connection error',
  'Cannot use a pool after calling end',
];

/**
 * SQLSTATE: the server is gone, or cannot do its work now, and the same statement can succeed later. 08 connection, 25006 read-only
 * (a standby), 25P0x a transaction that stood still for too long, 40 deadlock, 53 no room, 55P03 locked, 57 stopped or timed out, 58 its disk.
 *
 * 57014 is our own statement_timeout, and stays among them: a ledger whose disk or processor hangs says nothing else, and whoever took it for
 * an answer would reject orders for it. Work that takes long by itself has a bound of its own (REBUILD_STATEMENT_MS), so that it does not
 * look like that; and one such statement in a minute is too few to open a breaker.
 */
const postgresUnavailableStates = /^(08|40|53|57|58)...$|^25(006|P02|P03)$|^55P03$/;
const networkCodes = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
]);

/** @returns the part that could not be reached or could not do its work, or null where the fault is of another kind */
export function unavailableDependency(error: unknown): Dependency | null {
  if (error instanceof DependencyUnavailableError || error instanceof NoAnswerInTimeError) return error.part;
  const { message = '', code = '' } = (error ?? {}) as { message?: string; code?: string };
  if (redisRefusals.test(message) || redisWords.some((words) => message.includes(words))) return 'redis';
  // The Redis client never lets a bare network error through to a command; the PostgreSQL client does.
  if (
    postgresUnavailableStates.test(code) ||
    networkCodes.has(code) ||
    postgresWords.some((words) => message.includes(words))
  ) {
    return 'postgres';
  }
  return null;
}

/**
 * True where the part was not heard of: no connection, or no reply in time. One that answers with a refusal (no room, a row that is held, a
 * deadlock, still loading) is there, and others may be served by it.
 */
export function isSilent(error: unknown, part: Dependency): boolean {
  if (unavailableDependency(error) !== part) return false;
  const { message = '', code = '' } = (error ?? {}) as { message?: string; code?: string };
  if (part === 'redis') return !redisRefusals.test(message);
  return !/^[0-9A-Z]{5}$/.test(code) || /^(08|57)/.test(code);
}

/**
 * True where the fault lies in what was asked for, so that asking again cannot help: data that the ledger refuses (22, 23, and P0
 * from a trigger), or an error of ours. Every other state of PostgreSQL (no rights, no table, read-only …)
 * says that it is not in order now, and nobody's order is rejected for that.
 */
export function isAboutTheOrder(error: unknown): boolean {
  if (unavailableDependency(error) !== null) return false;
  const { code = '' } = (error ?? {}) as { code?: string };
  return !/^[0-9A-Z]{5}$/.test(code) || /^(22|23|P0)/.test(code);
}

/**
 * True where the server itself answers and only this work cannot be done now: somebody else holds the row. What is about other rows goes on.
 */
export function isRowHeld(error: unknown): boolean {
  return (error as { code?: string } | null)?.code === '55P03';
}

/**
 * True where PostgreSQL answers and says itself that it cannot write now, whatever is written: it is read-only (a standby), or out of disk,
 * memory or connections. Whoever waits for it asks by writing: `SELECT 1` would be answered.
 */
export function cannotWrite(error: unknown): boolean {
  return /^(25006|53...)$/.test((error as { code?: string } | null)?.code ?? '');
}

/** True where the command was not sent to Redis, or refused before it ran, so that nothing can have happened there. */
export function nothingHappenedInRedis(error: unknown): boolean {
  if (error instanceof DependencyUnavailableError) return error.part === 'redis';
  const { message = '' } = (error ?? {}) as { message?: string };
  return /isn't (writeable|ready) and enableOfflineQueue/.test(message) || redisRefusals.test(message);
}

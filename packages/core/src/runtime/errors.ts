/**
 * Which dependency an error came from, by the messages and codes of the client libraries. They are
 * in this one file, because they may change with a library.
 */

import { UnfitServerError } from './unfit-server.ts';

export type Dependency = 'redis' | 'postgres';

/**
 * A dependency does not answer: the call was not made, because its breaker is open, or it did not
 * return before the request's deadline.
 */
export class DependencyUnavailableError extends Error {
  override name = 'DependencyUnavailableError';
  readonly dependency: Dependency;
  readonly wasCalled: boolean;
  constructor(dependency: Dependency, wasCalled = false) {
    super(`${dependency} ${wasCalled ? 'did not answer in time' : 'does not answer; the call was not made'}`);
    this.dependency = dependency;
    this.wasCalled = wasCalled;
  }
}

const redisMessages = [
  "isn't writeable and enableOfflineQueue", // not sent: no connection
  'Connection is closed.',
  'Command timed out',
  'max retries per request limit', // the connection broke while the reply was awaited
  "Cluster isn't ready and enableOfflineQueue", // not sent: no node is known
  'None of startup nodes is available',
  'Failed to refresh slots cache',
  'Too many Cluster redirections',
  'Cluster is ended',
  'All sentinels are unreachable',
];

/**
 * Replies with which Redis refuses a command before it runs: loading, full, not writable, not
 * logged in, slot moving. "Too many redirections" counts as one: every node that was asked refused
 * the command (openRedis).
 */
const redisRefusals =
  /^(Too many Cluster redirections\. Last error: \w+: )?(LOADING|BUSY|OOM|READONLY|MISCONF|MASTERDOWN|NOREPLICAS|CLUSTERDOWN|TRYAGAIN|MOVED|ASK|NOAUTH|WRONGPASS|NOPERM)\b/;

const postgresMessages = [
  'Connection terminated',
  'timeout exceeded when trying to connect',
  'Query read timeout',
  'Client has encountered a connection error',
  'Cannot use a pool after calling end',
];

/**
 * SQLSTATEs after which the same statement can succeed later: 08 connection, 25006 read-only (a
 * standby), 25P0x idle transaction ended, 40 deadlock, 53 no resources, 55P03 lock not available,
 * 57 stopped or timed out, 58 disk.
 *
 * 57014 is our own statement_timeout. It counts, because it is the only sign of a ledger whose disk
 * hangs, and no order may be rejected for that. Statements that are slow by nature have their own
 * bound (REBUILD_STATEMENT_MS).
 */
const postgresUnavailableStates = /^(08|40|53|57|58)...$|^25(006|P02|P03)$|^55P03$/;

/** Of the operating system and the resolver (EMFILE, EAI_AGAIN), not Node's own ERR_… */
const SYSTEM_CODE = /^E(?!RR_)[A-Z0-9_]+$/;

/** No class of SQLSTATEs begins with E, which EPIPE does. */
const SQLSTATE = /^(?!E)[0-9A-Z]{5}$/;

function describe(error: unknown): { message: string; code: string } {
  const { message = '', code = '' } = (error ?? {}) as { message?: string; code?: string };
  return { message, code };
}

/** A call to the operating system failed. AggregateError: the calls to all addresses of a host. */
function isSystemError(error: unknown): boolean {
  if (error instanceof AggregateError && error.errors.some(isSystemError)) return true;
  return SYSTEM_CODE.test(describe(error).code) || typeof (error as { syscall?: unknown } | null)?.syscall === 'string';
}

/** @returns the dependency that was unreachable or unable to work, or null for any other error */
export function unavailableDependency(error: unknown): Dependency | null {
  if (error instanceof DependencyUnavailableError || error instanceof UnfitServerError) return error.dependency;
  const { message, code } = describe(error);
  const says = (messages: readonly string[]): boolean => messages.some((text) => message.includes(text));
  if (redisRefusals.test(message) || says(redisMessages)) return 'redis';
  // ioredis never passes a bare system error to a command; pg does.
  if (postgresUnavailableStates.test(code) || isSystemError(error) || says(postgresMessages)) return 'postgres';
  return null;
}

/**
 * True if there was no connection, or no reply in time. A dependency that refuses (full, locked,
 * loading) is there.
 */
export function isSilent(error: unknown, dependency: Dependency): boolean {
  if (unavailableDependency(error) !== dependency) return false;
  const { message, code } = describe(error);
  if (dependency === 'redis') return !redisRefusals.test(message);
  return !SQLSTATE.test(code) || /^(08|57)/.test(code);
}

/**
 * True if a retry cannot help: data that the ledger refuses (22, 23, P0 from a trigger), or a bug
 * in our code. No order is rejected for anything else: no rights, no table, an unknown error of a
 * client library.
 */
export function isAboutTheOrder(error: unknown): boolean {
  if (unavailableDependency(error) !== null) return false;
  return /^(22|23|P0)...$/.test(describe(error).code) || bugs.some((bug) => error instanceof bug);
}

const bugs = [TypeError, RangeError, ReferenceError, SyntaxError];

/** True if another transaction has locked this row: work on other rows can continue. */
export function isRowLocked(error: unknown): boolean {
  return describe(error).code === '55P03';
}

/**
 * True if PostgreSQL answers and refuses every write: it is read-only (a standby), or out of disk,
 * memory or connections. Only a write can tell when it recovers; `SELECT 1` succeeds all the time.
 */
export function cannotWrite(error: unknown): boolean {
  return /^(25006|53...)$/.test(describe(error).code);
}

/** True if the command was not sent to Redis, or was refused before it ran. */
export function nothingHappenedInRedis(error: unknown): boolean {
  if (error instanceof DependencyUnavailableError) return error.dependency === 'redis' && !error.wasCalled;
  if (error instanceof UnfitServerError) return true;
  const { message } = describe(error);
  return /isn't (writeable|ready) and enableOfflineQueue/.test(message) || redisRefusals.test(message);
}

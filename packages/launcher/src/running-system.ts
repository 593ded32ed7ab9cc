/**
 * The settings of this process, and those of the system that runs on the data folder.
 *
 * A running system writes its addresses and all settings to <data>/system.env, for commands in
 * other terminals. A shell reads it with `set -a; . .data/system.env; set +a`.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { type Environment, EnvironmentError, readEnvironment } from '@flash-sale/core/config/environment.ts';
import { readIdentity } from '@flash-sale/core/config/identity.ts';
import { withEnvFile, withSettingFiles } from '@flash-sale/core/config/setting-files.ts';
import { SettingsSchema } from '@flash-sale/core/config/settings.ts';

type Variables = Record<string, string | undefined>;

export interface Settings {
  readonly environment: Environment;
  /** All variables, for the environment of the processes. */
  readonly variables: Record<string, string>;
  /** Absolute. */
  readonly dataFolder: string;
  /** Address of the API from this machine: http://127.0.0.1:5001 */
  readonly apiUrl: string;
  /** The same for operators; differs if ADMIN_PORT is set. */
  readonly adminUrl: string;
}

/**
 * @param root the project's folder, for .env and a relative DATA_DIR
 * @throws EnvironmentError with a line for each invalid setting
 */
export function readSettings(root: string, given: Variables): Settings {
  const taken = Object.entries(withEnvFile(join(root, '.env'), given));
  const variables = Object.fromEntries(taken.flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])));
  const read = readEnvironment(variables);
  const environment = { ...read, API_PROCESSES: read.API_PROCESSES || processesByCores() };
  variables.API_PROCESSES = String(environment.API_PROCESSES);
  return { environment, variables, dataFolder: resolve(root, environment.DATA_DIR), ...urlsOf(environment) };
}

/** An order takes three times as much CPU of the API as of Redis. Only Linux shares ports. */
function processesByCores(): number {
  return process.platform === 'linux' ? Math.min(availableParallelism(), 4) : 1;
}

function urlsOf({ HOST, PORT, ADMIN_HOST, ADMIN_PORT }: Environment): { apiUrl: string; adminUrl: string } {
  const apiUrl = `http://${reachableHost(HOST)}:${PORT}`;
  return { apiUrl, adminUrl: ADMIN_PORT === 0 ? apiUrl : `http://${reachableHost(ADMIN_HOST)}:${ADMIN_PORT}` };
}

/**
 * Checks the settings that the API requires in production, and those that `npm start` sets itself,
 * so that it reports all faults before it starts anything.
 *
 * @throws EnvironmentError with a line for each
 */
export function requireChosen(environment: Environment): void {
  const faults: string[] = [];
  if (environment.NODE_ENV === 'production' && environment.ADMIN_TOKEN === undefined) {
    faults.push('ADMIN_TOKEN is not set. Production has no default: set it to a secret of at least 16 characters.');
  }
  if (environment.LOG_FILE !== '')
    faults.push('LOG_FILE has no effect on npm start, which keeps a log for each process in DATA_DIR. Remove it.');
  try {
    readIdentity(environment);
  } catch (error) {
    if (!(error instanceof EnvironmentError)) throw error;
    faults.push(error.message);
  }
  if (faults.length > 0) throw new EnvironmentError(faults.join('\n'));
}

/** An API that listens on all addresses is reachable on loopback. */
function reachableHost(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  if (host === '::') return '[::1]';
  return host.includes(':') ? `[${host}]` : host;
}

/** Variables that Node and the PostgreSQL client read. */
const LIBRARY_VARIABLES = /^(NODE_OPTIONS|NODE_EXTRA_CA_CERTS|UV_THREADPOOL_SIZE|PG[A-Z]+)$/;

/** Variable with the data folder; marks a terminal that has sourced the file. */
const MARK = 'FLASH_SALE_SYSTEM';

const systemFile = (dataFolder: string): string => join(dataFolder, 'system.env');

/**
 * Also writes the defaults, so that a later .env or terminal does not change them.
 *
 * @param given environment of the processes; LOG_FILE is omitted because each has its own
 */
export function writeSystemFile(dataFolder: string, given: Variables): void {
  const environment = readEnvironment(given);
  const { apiUrl, adminUrl } = urlsOf(environment);
  const settings = Object.keys(SettingsSchema.properties)
    .filter((name) => name !== 'LOG_FILE')
    .map((name) => [name, String(environment[name as keyof Environment] ?? '')] as const);
  const others = Object.entries(given).filter(([name, value]) => LIBRARY_VARIABLES.test(name) && value);
  const variables: Variables = {
    [MARK]: dataFolder,
    API_URL: apiUrl,
    ADMIN_URL: adminUrl,
    ...Object.fromEntries([...settings, ...others]),
    DATA_DIR: dataFolder,
  };
  const lines = Object.entries(variables).map(([name, value = '']) => `${name}='${value.replaceAll("'", "'\\''")}'\n`);
  // An existing file would keep its mode, and this one contains secrets.
  removeSystemFile(dataFolder);
  writeFileSync(systemFile(dataFolder), lines.join(''), { mode: 0o600 });
}

/**
 * @returns name → text; {} if no system runs, or another account's. Node's parseEnv cannot parse
 * quotes within quotes.
 */
function readSystemFile(dataFolder: string): Record<string, string> {
  let text: string;
  try {
    text = readFileSync(systemFile(dataFolder), 'utf8');
  } catch {
    return {};
  }
  const variables = [...text.matchAll(/^([A-Z][A-Z0-9_]*)='((?:[^']|'\\'')*)'$/gm)];
  return Object.fromEntries(variables.map(([, name, quoted]) => [name, quoted?.replaceAll("'\\''", "'")]));
}

export function removeSystemFile(dataFolder: string): void {
  rmSync(systemFile(dataFolder), { force: true });
}

/**
 * @throws Error in a terminal that has sourced a system.env: it would start on that system's
 * servers
 */
export function refuseSourced(given: Variables): void {
  if (!given[MARK]) return;
  throw new Error(
    `This terminal has the settings of the system on ${given[MARK]} (it has sourced its system.env): ` +
      "a system started here would use that system's Redis and ledger. Open a new terminal.",
  );
}

/**
 * Settings for a command: those of the system that runs on the data folder, overridden by the
 * terminal's variables. If no system runs, or the terminal names other servers, the settings are
 * those of .env, overridden by the terminal's variables.
 *
 * @returns changed: names that the terminal sets to another value than the running system
 * @throws EnvironmentError with a line for each invalid setting
 */
export function findSettings(
  root: string,
  given: Variables,
): { settings: Settings; isRunning: boolean; changed: string[] } {
  const settings = readSettings(root, given);
  const running = readSystemFile(settings.dataFolder);
  const own = Object.entries(withSettingFiles(given)).filter(([, value]) => value?.trim());
  const changed = own
    .filter(([name, value]) => name in SettingsSchema.properties && name in running && running[name] !== value)
    .map(([name]) => name)
    .filter((name) => name !== 'DATA_DIR');
  const isOther = changed.includes('REDIS_URL') || changed.includes('DATABASE_URL');
  if (running[MARK] === undefined || isOther) return { settings, isRunning: false, changed: [] };
  return { settings: readSettings(root, { ...running, ...Object.fromEntries(own) }), isRunning: true, changed };
}

type Servers = 'REDIS_URL' | 'DATABASE_URL' | 'ADMIN_TOKEN';

/** Settings for a command that needs those of `names`. @throws Error if one of them is not known */
export function findSystem<Name extends Servers>(root: string, given: Variables, ...names: Name[]) {
  const { settings } = findSettings(root, given);
  const missing = names.find((name) => !settings.environment[name]);
  if (missing) {
    throw new Error(
      `${missing} is not set, and no system runs on ${settings.dataFolder}. Run "npm start" first, or set ${missing}.`,
    );
  }
  return settings as Settings & { readonly environment: Record<Name, string> };
}

/**
 * What a running system writes down, while it runs, for commands in other terminals, which do not have the environment of the one that
 * started it, and for a person's own tools:
 *
 * - <data>/system.env: how to reach it.
 * - <data>/settings.env: what its processes were given, for one more of them, and for the doctor.
 */
import { createHash } from 'node:crypto';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { EnvironmentSchema } from '@flash-sale/core/config/environment.ts';
import { withSettingFiles } from '@flash-sale/core/config/setting-files.ts';
import { findSecret } from './kept-secret.ts';
import { readSettings, type Settings } from './settings.ts';
import { readShellFile, writeShellFile } from './shell-file.ts';

export interface SystemAddresses {
  /** http://127.0.0.1:5001 */
  readonly apiUrl: string;
  /** The same for operators: another one where ADMIN_PORT is set. */
  readonly adminUrl: string;
  readonly redisUrl: string;
  readonly databaseUrl: string;
  readonly adminToken: string;
}

const addressFile = (dataFolder: string): string => join(dataFolder, 'system.env');
const settingFile = (dataFolder: string): string => join(dataFolder, 'settings.env');

/** What Node and the PostgreSQL client take from the environment by themselves. */
const NOT_OURS = /^(NODE_OPTIONS|NODE_EXTRA_CA_CERTS|UV_THREADPOOL_SIZE|PG[A-Z]+)$/;

export function writeAddresses(dataFolder: string, addresses: SystemAddresses): void {
  const { apiUrl, adminUrl, redisUrl, databaseUrl, adminToken } = addresses;
  writeShellFile(addressFile(dataFolder), {
    ...markOf(dataFolder, redisUrl, databaseUrl),
    API_URL: apiUrl,
    ADMIN_URL: adminUrl,
    REDIS_URL: redisUrl,
    DATABASE_URL: databaseUrl,
    ADMIN_TOKEN: adminToken,
  });
}

/**
 * Every setting, also what is at its default or unset: neither .env as it is by then nor the terminal may fill in another.
 *
 * @param given what each process is given; LOG_FILE is left out, each has its own
 */
export function writeProcessSettings(
  dataFolder: string,
  given: Record<string, string | undefined> & { REDIS_URL: string; DATABASE_URL: string },
): void {
  const settings = Object.entries(EnvironmentSchema.properties)
    .filter(([name]) => name !== 'LOG_FILE')
    .map(([name, declared]) => [name, given[name]?.trim() || String(declared.default ?? '')]);
  const others = Object.entries(given).filter(([name, value]) => NOT_OURS.test(name) && value);
  writeShellFile(settingFile(dataFolder), {
    ...markOf(dataFolder, given.REDIS_URL, given.DATABASE_URL),
    ...Object.fromEntries([...settings, ...others]),
    DATA_DIR: dataFolder,
  });
}

/** Says whose the servers are that a terminal names, also when the system does not run any more. */
function markOf(dataFolder: string, redisUrl: string, databaseUrl: string) {
  return { FLASH_SALE_SYSTEM: dataFolder, FLASH_SALE_SERVERS: [redisUrl, databaseUrl].map(digest).join() };
}

/**
 * A terminal that sourced one of our files names the servers of that system: a start there, of another system or of the same one, would take
 * them for servers that were given.
 *
 * @throws Error with a sentence
 */
export function refuseSourced(given: Record<string, string | undefined>): void {
  const { FLASH_SALE_SYSTEM: folder, FLASH_SALE_SERVERS: marks = '' } = given;
  const [redis, ledger] = marks.split(',');
  const isOf = (url: string | undefined, mark: string | undefined) => Boolean(url) && digest(url as string) === mark;
  if (!folder || !(isOf(given.REDIS_URL, redis) || isOf(given.DATABASE_URL, ledger))) return;
  throw new Error(
    `This terminal has the addresses of the system on ${folder} (its system.env or settings.env was read into it): what is started here would sell on that system's Redis and ledger. ` +
      'Open a new terminal, or type "unset REDIS_URL DATABASE_URL ADMIN_TOKEN" first.',
  );
}

const digest = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 16);

export function removeAddresses(dataFolder: string): void {
  for (const file of [addressFile(dataFolder), settingFile(dataFolder)]) rmSync(file, { force: true });
}

/**
 * What is known of the system that a command means: its own settings go before what the system that runs on the data folder has written
 * down. What is not known is left out.
 */
export function findSystem(
  root: string,
  given: Record<string, string | undefined>,
): { REDIS_URL?: string; DATABASE_URL?: string; ADMIN_TOKEN?: string } {
  const { variables, dataFolder } = readSettings(root, given);
  const running = readAddresses(dataFolder);
  const known = {
    REDIS_URL: variables.REDIS_URL || running.REDIS_URL,
    DATABASE_URL: variables.DATABASE_URL || running.DATABASE_URL,
    ADMIN_TOKEN: variables.ADMIN_TOKEN || running.ADMIN_TOKEN,
  };
  return Object.fromEntries(Object.entries(known).filter(([, value]) => value));
}

/** The operator's way to that system. @throws Error with a sentence where no token is known */
export function findOperator(
  root: string,
  given: Record<string, string | undefined>,
): { adminUrl: string; adminToken: string } {
  const { variables, dataFolder, adminUrl } = readSettings(root, given);
  const adminToken = findSystem(root, given).ADMIN_TOKEN || findSecret(dataFolder, 'admin-token');
  if (!adminToken) {
    throw new Error(
      `ADMIN_TOKEN is not set, and no system keeps one in ${dataFolder}. Type "npm start" first, or set ADMIN_TOKEN.`,
    );
  }
  const running = readAddresses(dataFolder);
  const isGiven = variables.PORT || variables.ADMIN_PORT;
  return { adminUrl: isGiven ? adminUrl : running.ADMIN_URL || adminUrl, adminToken };
}

/** Its servers. @throws Error with a sentence where none are known */
export function findServers(
  root: string,
  given: Record<string, string | undefined>,
): { redisUrl: string; databaseUrl: string } {
  const { REDIS_URL: redisUrl, DATABASE_URL: databaseUrl } = findSystem(root, given);
  if (!redisUrl || !databaseUrl) {
    const { dataFolder } = readSettings(root, given);
    throw new Error(
      `${redisUrl ? 'DATABASE_URL' : 'REDIS_URL'} is not set, and no system runs on ${dataFolder}. Type "npm start" first, or set REDIS_URL and DATABASE_URL.`,
    );
  }
  return { redisUrl, databaseUrl };
}

/** The ledger alone, for commands that need no Redis. @throws Error with a sentence where none is known */
export function findLedger(root: string, given: Record<string, string | undefined>): string {
  const { variables, dataFolder } = readSettings(root, given);
  const databaseUrl = variables.DATABASE_URL || readAddresses(dataFolder).DATABASE_URL;
  if (databaseUrl) return databaseUrl;
  throw new Error(
    `DATABASE_URL is not set, and no system runs on ${dataFolder}. Type "npm start" first, or set DATABASE_URL.`,
  );
}

/**
 * Settings of the system that a command means: those of the one that runs on the data folder, under what the terminal sets itself. Where the terminal names other
 * servers another system is meant, and where none runs there is none: then they are the terminal's, over .env.
 *
 * @returns isRunning: whether they are of a running system; changed: names of what the terminal sets otherwise
 * @throws EnvironmentError with a sentence for each setting that is wrong
 */
export function findSettings(
  root: string,
  given: Record<string, string | undefined>,
): { settings: Settings; isRunning: boolean; changed: string[] } {
  const settings = readSettings(root, given);
  const running = readShellFile(settingFile(settings.dataFolder));
  const own = Object.entries(withSettingFiles(given)).filter(([, value]) => value?.trim());
  const changed = own
    .filter(([name, value]) => name in EnvironmentSchema.properties && name in running && running[name] !== value)
    .map(([name]) => name)
    .filter((name) => name !== 'DATA_DIR');
  const isOther = changed.includes('REDIS_URL') || changed.includes('DATABASE_URL');
  if (running.FLASH_SALE_SYSTEM === undefined || isOther) return { settings, isRunning: false, changed: [] };
  return { settings: readSettings(root, { ...running, ...Object.fromEntries(own) }), isRunning: true, changed };
}

function readAddresses(dataFolder: string): Record<string, string | undefined> {
  return readShellFile(addressFile(dataFolder));
}

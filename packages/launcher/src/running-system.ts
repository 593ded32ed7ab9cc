/**
 * <data>/system.env: how to reach the system that runs on this data folder, while it runs. For commands in another terminal, which do
 * not have the environment of the one that started it, and for a person's own tools: `set -a; . .data/system.env; set +a`
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseEnv } from 'node:util';
import { findSecret } from './kept-secret.ts';
import { readSettings } from './settings.ts';

export interface SystemAddresses {
  /** http://127.0.0.1:5001 */
  readonly apiUrl: string;
  /** The same for operators: another one where ADMIN_PORT is set. */
  readonly adminUrl: string;
  readonly redisUrl: string;
  readonly databaseUrl: string;
  readonly adminToken: string;
}

const fileIn = (dataFolder: string): string => join(dataFolder, 'system.env');

/** The file holds every secret of the system: nobody else may read it. */
export function writeAddresses(dataFolder: string, addresses: SystemAddresses): void {
  const { apiUrl, adminUrl, redisUrl, databaseUrl, adminToken } = addresses;
  // Read by shells and by parseEnv, which escape a quote differently. In an address it can be written in another way; a token with one
  // was set by somebody, who knows it, and is left out.
  const address = (url: string): string => url.replaceAll("'", '%27');
  const variables = {
    API_URL: apiUrl,
    ADMIN_URL: adminUrl,
    REDIS_URL: address(redisUrl),
    DATABASE_URL: address(databaseUrl),
    ...(adminToken.includes("'") ? {} : { ADMIN_TOKEN: adminToken }),
  };
  const text = Object.entries(variables).map(([name, value]) => `${name}='${value}'\n`);
  // Anew each time: the mode of a file that exists would stay as it is.
  removeAddresses(dataFolder);
  writeFileSync(fileIn(dataFolder), text.join(''), { mode: 0o600 });
}

export function removeAddresses(dataFolder: string): void {
  rmSync(fileIn(dataFolder), { force: true });
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

function readAddresses(dataFolder: string): Record<string, string | undefined> {
  try {
    return parseEnv(readFileSync(fileIn(dataFolder), 'utf8'));
  } catch {
    return {};
  }
}

/** The settings of this run: the environment over .env. */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseEnv } from 'node:util';
import { type Environment, EnvironmentError, readEnvironment } from '@flash-sale/core/config/environment.ts';
import { readIdentity } from '@flash-sale/core/config/identity.ts';
import { withSettingFiles } from '@flash-sale/core/config/setting-files.ts';

export interface Settings {
  readonly environment: Environment;
  /** Every variable, as the processes are given them. */
  readonly variables: Record<string, string>;
  /** Absolute. */
  readonly dataFolder: string;
  /** Where this machine reaches the API: http://127.0.0.1:5001 */
  readonly apiUrl: string;
  /** The same for operators; differs where ADMIN_PORT is set. */
  readonly adminUrl: string;
}

/**
 * @param root the project's folder: holds .env, and a relative DATA_DIR
 * @throws EnvironmentError with a sentence for each setting that is wrong
 */
export function readSettings(root: string, given: Record<string, string | undefined>): Settings {
  const variables: Record<string, string> = {};
  for (const source of [readDotEnv(root), given])
    for (const [name, value] of Object.entries(withSettingFiles(source)))
      if (value !== undefined) variables[name] = value;
  const environment = readEnvironment(variables);
  return { environment, variables, dataFolder: resolve(root, environment.DATA_DIR), ...urlsOf(environment) };
}

/** Where this machine reaches an API with these settings. */
export function urlsOf({ HOST, PORT, ADMIN_HOST, ADMIN_PORT }: Environment): { apiUrl: string; adminUrl: string } {
  const apiUrl = `http://${reachableHost(HOST)}:${PORT}`;
  return { apiUrl, adminUrl: ADMIN_PORT === 0 ? apiUrl : `http://${reachableHost(ADMIN_HOST)}:${ADMIN_PORT}` };
}

/**
 * What the API refuses, too: `npm start` asks for all of it at once, before it starts anything.
 *
 * @throws EnvironmentError with a sentence for each
 */
export function requireChosen(environment: Environment): void {
  const faults: string[] = [];
  if (environment.NODE_ENV === 'production' && environment.ADMIN_TOKEN === undefined) {
    faults.push('ADMIN_TOKEN is not set. Production has no default: set it to a secret of at least 16 characters.');
  }
  try {
    readIdentity(environment);
  } catch (error) {
    if (!(error instanceof EnvironmentError)) throw error;
    faults.push(error.message);
  }
  if (faults.length > 0) throw new EnvironmentError(faults.join('\n'));
}

function readDotEnv(root: string): Record<string, string> {
  try {
    return parseEnv(readFileSync(join(root, '.env'), 'utf8')) as Record<string, string>;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw error;
  }
}

/** Listening on every address includes loopback. */
function reachableHost(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  if (host === '::') return '[::1]';
  return host.includes(':') ? `[${host}]` : host;
}

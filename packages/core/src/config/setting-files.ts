/**
 * Settings from .env, and from files: ADMIN_TOKEN_FILE=/run/secrets/admin_token sets ADMIN_TOKEN,
 * and so for every setting. Secret stores provide files, whose content is not visible in `docker
 * inspect`.
 */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { parseEnv } from 'node:util';
import { EnvironmentError } from './environment.ts';
import { isSpeltAlike, likelySetting } from './setting-names.ts';
import { SettingsSchema } from './settings.ts';

/** Bytes of a setting file; a larger one is probably the wrong file. */
const FILE_BYTES_MAX = 65_536;

/**
 * Adds the variables of .env, if there is one, that are not given. Both may name setting files.
 *
 * @throws EnvironmentError with one sentence for each unusable file and each name that is probably
 * a misspelt setting
 */
export function withEnvFile(
  envFile: string | URL,
  given: Record<string, string | undefined>,
): Record<string, string | undefined> {
  const file = existsSync(envFile) ? readEnvFile(envFile) : {};
  const settings = { ...withSettingFiles(file), ...withSettingFiles(given) };
  const faults = Object.keys({ ...file, ...given }).flatMap((name) => {
    const meant = likelySetting(name);
    if (meant === undefined) return [];
    const inFile = name in file;
    // The environment has names of other programs, like LOGLEVEL.
    if (!inFile && (isSpeltAlike(name, meant) || settings[meant]?.trim())) return [];
    return [`${name} in ${inFile ? '.env' : 'the environment'} is not a setting. Did you mean ${meant}?`];
  });
  if (faults.length > 0) throw new EnvironmentError(faults.join('\n'));
  return settings;
}

/** Nothing, or NAME=value, and a comment. Of other lines Node's parser drops a part in silence. */
const ENV_LINE =
  /^\s*((export +)?[^\s=#"'`]+\s*=\s*("[^"]*"|'[^']*'|`[^`]*`|[^\s#"'`]([^#]*[^\s#])?)?\s*)?((?<=^|\s)#.*)?$/s;

/** @throws EnvironmentError if it cannot be read, or not as it stands; it never shows a value */
function readEnvFile(envFile: string | URL): Record<string, string | undefined> {
  const { text, fault } = readTextFile(envFile);
  if (fault !== undefined) throw new EnvironmentError(`.env ${fault}`);
  const lines = text.split(/\r\n?|\n/);
  const faults = lines.flatMap((line, at) => (ENV_LINE.test(line) ? [] : [oddLine(at + 1)]));
  if (faults.length > 0) throw new EnvironmentError(faults.join('\n'));
  return Object.assign({}, ...lines.filter((line) => !/^\s*#/.test(line)).map((line) => parseEnv(line)));
}

const oddLine = (number: number): string =>
  `Line ${number} of .env would be read as something else. Write NAME='value' on one line; ` +
  'a value with # or quotes in it needs other quotes around it.';

/** @returns the text without its byte order mark; undefined if it is not UTF-8, or has NUL bytes */
function decode(bytes: Buffer): string | undefined {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    return text.includes('\0') ? undefined : text;
  } catch {
    return undefined;
  }
}

/**
 * Replaces each NAME_FILE by NAME with the trimmed content of the file.
 *
 * @param variables one source (the environment, or .env); an empty text counts as unset
 * @throws EnvironmentError with one sentence for each unusable file, never with its content
 */
export function withSettingFiles(variables: Record<string, string | undefined>): Record<string, string | undefined> {
  const taken = { ...variables };
  const faults: string[] = [];
  for (const name of Object.keys(SettingsSchema.properties)) {
    const fileName = `${name}_FILE`;
    const path = variables[fileName]?.trim();
    // A child process with the result as its environment must not get both.
    delete taken[fileName];
    if (!path) continue;
    if (variables[name]?.trim()) faults.push(`${name} and ${fileName} are both set. Remove one of them.`);
    else {
      const { text, fault = text === '' ? 'is empty. Write the value into it.' : undefined } = readTextFile(path);
      taken[name] = text;
      if (fault) faults.push(`${fileName} names ${path}, which ${fault}`);
    }
  }
  if (faults.length > 0) throw new EnvironmentError(faults.join('\n'));
  return taken;
}

/** @returns the trimmed content, or what is wrong with the file */
function readTextFile(path: string | URL): { text: string; fault?: undefined } | { text?: undefined; fault: string } {
  try {
    const stats = statSync(path);
    // Not opened: /dev/zero and a pipe without a writer have no end.
    if (!stats.isFile() && !stats.isDirectory()) return { fault: 'is a pipe or a device. Use a regular file.' };
    if (stats.isFile() && stats.size > FILE_BYTES_MAX)
      return { fault: `is larger than ${FILE_BYTES_MAX} bytes. Is it the right file?` };
    const text = decode(readFileSync(path))?.trim();
    return text === undefined ? { fault: 'is not a text file in UTF-8. Save it as UTF-8.' } : { text };
  } catch (error) {
    const { code = 'UNKNOWN' } = error as NodeJS.ErrnoException;
    return { fault: FAULTS[code] ?? `cannot be read (${code}).` };
  }
}

const FAULTS: Record<string, string> = {
  ENOENT: 'does not exist. In a container: does this service have the secret?',
  ENOTDIR: 'does not exist. In a container: does this service have the secret?',
  EACCES: 'this user may not read. Change the owner or the mode of the file (chown, chmod).',
  EISDIR: 'is a folder. Docker creates a folder where a mounted file does not exist: create the file first.',
};

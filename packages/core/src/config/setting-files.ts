/**
 * Settings from files: ADMIN_TOKEN_FILE=/run/secrets/admin_token sets ADMIN_TOKEN, and so for every
 * setting. Secret stores provide files, whose content is not visible in `docker inspect`.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { EnvironmentError } from './environment.ts';
import { SettingsSchema } from './settings.ts';

/** Bytes of a setting file; a larger one is probably the wrong file. */
const FILE_BYTES_MAX = 65_536;

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
    const fault = variables[name]?.trim()
      ? `${name} and ${fileName} are both set. Remove one of them.`
      : faultOf(fileName, path, (text) => {
          taken[name] = text;
        });
    if (fault) faults.push(fault);
  }
  if (faults.length > 0) throw new EnvironmentError(faults.join('\n'));
  return taken;
}

/** @param take receives the content. @returns an error message, or null */
function faultOf(fileName: string, path: string, take: (text: string) => void): string | null {
  const named = `${fileName} names ${path}, `;
  let content: Buffer | null;
  try {
    content = readBounded(path);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'UNKNOWN';
    return named + (WHY[code] ?? `which cannot be read (${code}).`);
  }
  if (content === null) return `${named}which is a pipe or a device. Use a regular file.`;
  if (content.length > FILE_BYTES_MAX)
    return `${named}which is larger than ${FILE_BYTES_MAX} bytes. Is it the right file?`;
  const text = content.toString('utf8').trim();
  if (text === '') return `${named}which is empty. Write the value into it.`;
  take(text);
  return null;
}

/**
 * Bounded, because /dev/zero and a pipe without a writer have no end.
 *
 * @returns at most FILE_BYTES_MAX + 1 bytes; null if it is a pipe or a device
 * @throws the system's error; EISDIR for a folder
 */
function readBounded(path: string): Buffer | null {
  // Without O_NONBLOCK, opening a pipe blocks until it has a writer.
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stats = fstatSync(file);
    if (!stats.isFile() && !stats.isDirectory()) return null;
    const content = Buffer.alloc(FILE_BYTES_MAX + 1);
    let bytes = 0;
    for (let read = -1; read !== 0 && bytes < content.length; bytes += read) {
      read = readSync(file, content, bytes, content.length - bytes, null);
    }
    return content.subarray(0, bytes);
  } finally {
    closeSync(file);
  }
}

const WHY: Record<string, string> = {
  ENOENT: 'which does not exist. In a container: does this service have the secret?',
  ENOTDIR: 'which does not exist. In a container: does this service have the secret?',
  EACCES: 'which this user may not read. Change the owner or the mode of the file (chown, chmod).',
  EISDIR: 'which is a folder. Docker creates a folder where a mounted file does not exist: create the file first.',
};

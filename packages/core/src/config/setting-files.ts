/**
 * Settings that lie in files: ADMIN_TOKEN_FILE=/run/secrets/admin_token stands for ADMIN_TOKEN, and so with each setting's name. Secret stores
 * hand secrets over like this, and a file's text does not show in `docker inspect`.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { EnvironmentError } from './environment.ts';
import { SettingsSchema } from './settings.ts';

/** Bytes of such a file: more is another file than the one that was meant. */
const FILE_BYTES_MAX = 65_536;

/**
 * The same variables, with NAME in the place of each NAME_FILE. White space around a file's text does not count: editors end it with a newline.
 *
 * @param variables one source (the environment, or .env), as name → text; an empty text counts as unset
 * @throws EnvironmentError with one sentence for each file that cannot be taken; nothing of a file is ever shown
 */
export function withSettingFiles(variables: Record<string, string | undefined>): Record<string, string | undefined> {
  const taken = { ...variables };
  const faults: string[] = [];
  for (const name of Object.keys(SettingsSchema.properties)) {
    const fileName = `${name}_FILE`;
    const path = variables[fileName]?.trim();
    // Not handed on: a process that is started with what we return would else be given both.
    delete taken[fileName];
    if (!path) continue;
    const fault = variables[name]?.trim()
      ? `${name} and ${fileName} are both set. Take one of them away.`
      : faultOf(fileName, path, (text) => {
          taken[name] = text;
        });
    if (fault) faults.push(fault);
  }
  if (faults.length > 0) throw new EnvironmentError(faults.join('\n'));
  return taken;
}

/** @param take is given the file's text, where it has any. @returns a sentence, or null */
function faultOf(fileName: string, path: string, take: (text: string) => void): string | null {
  const named = `${fileName} names ${path}, `;
  let content: Buffer | null;
  try {
    content = readBounded(path);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'UNKNOWN';
    return named + (WHY[code] ?? `which cannot be read (${code}).`);
  }
  if (content === null) return `${named}which is a pipe or a device. Write the value into a file of its own.`;
  if (content.length > FILE_BYTES_MAX)
    return `${named}which is larger than ${FILE_BYTES_MAX} bytes: is it the right file?`;
  const text = content.toString('utf8').trim();
  if (text === '') return `${named}which is empty. Write the value into it, and nothing else.`;
  take(text);
  return null;
}

/**
 * Reads no more than it must, whatever it was given: /dev/zero has no end, and a pipe that nobody writes to none either.
 *
 * @returns at most FILE_BYTES_MAX + 1 bytes; null where it is no file
 * @throws what the system says, EISDIR of a folder
 */
function readBounded(path: string): Buffer | null {
  // Without O_NONBLOCK opening a pipe waits for a writer.
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
  ENOENT: 'which is not there. In a container: is the secret given to this service?',
  ENOTDIR: 'which is not there. In a container: is the secret given to this service?',
  EACCES:
    'which this account may not read. Give the file to the account that the process runs as, or let it read it (chmod).',
  EISDIR:
    'which is a folder. Where a file that is mounted does not exist, Docker makes a folder of that name: make the file first.',
};

/** Secrets that are made once and kept in <data>/secrets, readable by their owner only. */
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const SECRET_BYTES = 32;

/** The secret of that name, made at the first call. base64url: needs no escaping in URLs, headers or SQL. */
export function keptSecret(dataFolder: string, name: string): string {
  const known = findSecret(dataFolder, name);
  if (known !== undefined) return known;
  const folder = join(dataFolder, 'secrets');
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const file = join(folder, name);
  // Written whole under another name first: a crash in between leaves no half secret behind.
  const fresh = `${file}.${process.pid}`;
  writeFileSync(fresh, `${randomBytes(SECRET_BYTES).toString('base64url')}\n`, { mode: 0o600 });
  renameSync(fresh, file);
  return readFileSync(file, 'utf8').trim();
}

/** The secret of that name, or undefined when none was made yet. */
export function findSecret(dataFolder: string, name: string): string | undefined {
  try {
    return readFileSync(join(dataFolder, 'secrets', name), 'utf8').trim() || undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

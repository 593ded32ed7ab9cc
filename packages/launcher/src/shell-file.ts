/**
 * Files of variables that a shell sources (`set -a; . file; set +a`) and that our commands read: NAME='text' a line. A quote within is
 * '\'' as shells have it, which parseEnv of Node does not know; so they are read here, too.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';

/** Both read the same, whatever the text has in it. Readable by nobody else: such files hold secrets. */
export function writeShellFile(file: string, variables: Record<string, string>): void {
  const lines = Object.entries(variables).map(([name, value]) => `${name}='${value.replaceAll("'", "'\\''")}'\n`);
  // Anew each time: the mode of a file that exists would stay as it is.
  rmSync(file, { force: true });
  writeFileSync(file, lines.join(''), { mode: 0o600 });
}

/** @returns name → text; nothing where there is no such file, or it may not be read */
export function readShellFile(file: string): Record<string, string> {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return {};
  }
  const variables = text.matchAll(/^([A-Z][A-Z0-9_]*)='((?:[^']|'\\'')*)'$/gm);
  return Object.fromEntries(
    Array.from(variables, ([, name = '', quoted = '']) => [name, quoted.replaceAll("'\\''", "'")]),
  );
}

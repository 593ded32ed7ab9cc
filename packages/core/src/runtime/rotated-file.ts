/**
 * A file of lines that is set aside once it is large. Who writes is who renames and opens anew, between two lines: none can get lost in
 * between, as it would where somebody else copies the file and empties it. What was written is the system's: a process that is killed
 * keeps it, a machine that loses power may lose the last seconds (nothing is flushed to the disk line by line).
 */
import { closeSync, fstatSync, mkdirSync, openSync, readdirSync, renameSync, rmSync, writeSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { LOG_FILE_BYTES, LOG_FILES_MAX } from '../config/limits.ts';

/** A number that rises: not the time, which may be set back, so that the newest would be taken for the oldest. */
const SET_ASIDE = /^\.(\d{6,})$/;
/** The same, where somebody has compressed it: it is his, but its number stays taken. */
const NUMBERED = /^\.(\d{6,})(\.\w+)?$/;

export interface RotatedFile {
  /** @returns false where the line could not be written (a full disk): a log must never end the process */
  write(line: string): boolean;
}

/** @param bounds bytes above which it is set aside, and how many such files are kept */
export function openRotatedFile(file: string, bounds = { bytes: LOG_FILE_BYTES, files: LOG_FILES_MAX }): RotatedFile {
  let fd: number | null = null;
  let size = 0;
  let isTorn = false;

  function open(): number {
    mkdirSync(dirname(file), { recursive: true });
    const opened = openSync(file, 'a', 0o640);
    size = fstatSync(opened).size;
    return opened;
  }

  function write(line: string): void {
    fd ??= open();
    // A line that was cut off must not spoil the next one.
    const bytes = Buffer.from(isTorn ? `\n${line}` : line);
    for (let at = 0; at < bytes.length; ) {
      at += writeSync(fd, bytes, at);
      isTorn = at < bytes.length;
    }
    size += bytes.length;
  }

  function rotate(): void {
    // Where it cannot be renamed it goes on growing, and is looked at again when it has grown by as much.
    size = 0;
    if (!setAside(file, bounds.files)) return;
    const old = fd;
    fd = null;
    if (old !== null) closeSync(old);
    fd = open();
  }

  return {
    write(line) {
      try {
        write(line);
      } catch {
        return false;
      }
      try {
        if (size > bounds.bytes) rotate();
      } catch {
        // The next line opens it.
      }
      return true;
    },
  };
}

/**
 * Renames the file to `<file>.<number>`, and removes the oldest ones beyond `most`.
 *
 * @returns false where it could not be renamed
 */
export function setAside(file: string, most = LOG_FILES_MAX): boolean {
  try {
    const number = Math.max(0, ...listNumbered(file, NUMBERED).map((one) => numberOf(file, one))) + 1;
    renameSync(file, `${file}.${String(number).padStart(6, '0')}`);
  } catch {
    return false;
  }
  try {
    for (const old of listSetAside(file).slice(0, -most)) rmSync(old);
  } catch {
    // The next one tries again.
  }
  return true;
}

/** Files that were set aside, the oldest first. */
export function listSetAside(file: string): string[] {
  return listNumbered(file, SET_ASIDE);
}

function listNumbered(file: string, ending: RegExp): string[] {
  const folder = dirname(file);
  const isOne = (name: string): boolean =>
    name.startsWith(basename(file)) && ending.test(name.slice(basename(file).length));
  return readdirSync(folder)
    .filter(isOne)
    .map((name) => join(folder, name))
    .sort((a, b) => numberOf(file, a) - numberOf(file, b));
}

function numberOf(file: string, setAsideFile: string): number {
  return Number.parseInt(basename(setAsideFile).slice(basename(file).length + 1), 10);
}

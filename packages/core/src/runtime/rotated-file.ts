/**
 * A file of lines that is set aside once it is large. The writer itself renames and reopens it
 * between two lines, so no line is lost, as it could be if another process copied and truncated the
 * file. What was written is the system's: a process that is killed keeps it; a machine that loses
 * power may lose the last seconds (there is no fsync for each line).
 */
import { closeSync, fstatSync, mkdirSync, openSync, readdirSync, renameSync, rmSync, writeSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** Bytes at which a log file is rotated. */
export const LOG_FILE_BYTES = 20 * 1024 * 1024;

/** Rotated log files kept per process: 1 GB, three million accepted orders. */
const LOG_FILES_MAX = 50;

/** A rising number, not the time: a clock change would make the newest file the oldest. */
const SET_ASIDE = /^\.(\d{6,})$/;
/** Also those that an operator has compressed: their numbers stay taken. */
const NUMBERED = /^\.(\d{6,})(\.\w+)?$/;

/** @param bounds bytes above which the file is set aside, and how many such files are kept */
export function openRotatedFile(file: string, bounds = { bytes: LOG_FILE_BYTES, files: LOG_FILES_MAX }) {
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
    // If the file cannot be renamed, try again after as many bytes.
    size = 0;
    if (!setAside(file, bounds.files)) return;
    const old = fd;
    fd = null;
    if (old !== null) closeSync(old);
    fd = open();
  }

  return {
    /** @returns false if it could not be written (a full disk): a log never ends the process */
    write(line: string): boolean {
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
 * Renames the file to `<file>.<number>`, and removes the oldest of those beyond `most`.
 *
 * @returns false if it could not be renamed
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
    // The next rotation tries again.
  }
  return true;
}

/** Files that were set aside, the oldest first. */
export function listSetAside(file: string): string[] {
  return listNumbered(file, SET_ASIDE);
}

function listNumbered(file: string, ending: RegExp): string[] {
  const name = basename(file);
  return readdirSync(dirname(file))
    .filter((other) => other.startsWith(name) && ending.test(other.slice(name.length)))
    .map((other) => join(dirname(file), other))
    .sort((a, b) => numberOf(file, a) - numberOf(file, b));
}

function numberOf(file: string, numbered: string): number {
  return Number.parseInt(basename(numbered).slice(basename(file).length + 1), 10);
}

/**
 * The log file of a kept process: appended to by the process itself, read only for its end. API and workers set theirs aside themselves, so
 * that no line of it is lost (core's rotated-file.ts). A server cannot; its log is copied and emptied once it is large.
 */
import {
  closeSync,
  copyFileSync,
  fstatSync,
  mkdirSync,
  openSync,
  readSync,
  rmSync,
  statSync,
  truncateSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { LOG_FILE_BYTES } from '@flash-sale/core/config/limits.ts';
import { setAside } from '@flash-sale/core/runtime/rotated-file.ts';

/** Bytes at the end of the file that are looked through for the last words of a process. */
const LOOK_BACK_BYTES = 64 * 1024;

/** Opens for appending. The child writes through the descriptor itself, so its log outlives us. */
export function openLog(file: string): { fd: number; size: number } {
  mkdirSync(dirname(file), { recursive: true });
  // Nobody writes to it: its process is started only now.
  if ((statSync(file, { throwIfNoEntry: false })?.size ?? 0) > LOG_FILE_BYTES) setAside(file);
  const fd = openSync(file, 'a', 0o640);
  return { fd, size: fstatSync(fd).size };
}

/**
 * Copies a large log of a server to <name>.log.1 and empties it. The server goes on writing through its descriptor, at the new end: it was
 * opened for appending. Lines that come between the two steps are lost, and all old ones where there is no room for the copy: a log must
 * never end the system. Not for a log that orders are recovered from.
 */
export function copyAside(file: string, aboveBytes = LOG_FILE_BYTES): void {
  try {
    if ((statSync(file, { throwIfNoEntry: false })?.size ?? 0) <= aboveBytes) return;
    try {
      copyFileSync(file, `${file}.1`);
    } catch {
      rmSync(`${file}.1`, { force: true, recursive: true });
    }
    truncateSync(file);
  } catch {
    // The next look tries again.
  }
}

/** The last words of a process that has ended: what it printed plainly, or, where it did not, its last log lines. */
export function lastLines(file: string, from: number, count: number): string[] {
  const fd = openSync(file, 'r');
  try {
    const { size } = fstatSync(fd);
    // The file is shorter than where we began to look: it was set aside meanwhile.
    const start = Math.max(from > size ? 0 : from, size - LOOK_BACK_BYTES, 0);
    const buffer = Buffer.alloc(Math.max(size - start, 0));
    const read = readSync(fd, buffer, 0, buffer.length, start);
    const lines = buffer
      .toString('utf8', 0, read)
      .split('\n')
      .filter((line) => line.trim() !== '');
    const plain = lines.filter((line) => !line.startsWith('{"'));
    return (plain.length > 0 ? plain : lines).slice(-count);
  } finally {
    closeSync(fd);
  }
}

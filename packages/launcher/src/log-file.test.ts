/** A log that is set aside while its process goes on writing. */
import { closeSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { lastLines, openLog, rotateLog } from './log-file.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'flash-sale-log-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test('two files bound the disk, and the process writes on through the descriptor it has', () => {
  const file = join(folder, 'api-1.log');
  const { fd } = openLog(file);
  writeSync(fd, 'first\n'.repeat(100));
  rotateLog(file, 1_000);
  expect(existsSync(`${file}.1`)).toBe(false);
  rotateLog(file, 100);
  writeSync(fd, 'second\n');
  expect(readFileSync(`${file}.1`, 'utf8')).toBe('first\n'.repeat(100));
  expect(readFileSync(file, 'utf8')).toBe('second\n');
  expect(lastLines(file, 600, 5)).toEqual(['second']);
  closeSync(fd);
});

test('where the old lines cannot be kept they are dropped, and nothing is thrown', () => {
  const file = join(folder, 'api-1.log');
  const { fd } = openLog(file);
  mkdirSync(`${file}.1`);
  writeSync(fd, 'first\n'.repeat(100));
  rotateLog(file, 100);
  writeSync(fd, 'second\n');
  expect(readFileSync(file, 'utf8')).toBe('second\n');
  closeSync(fd);
});

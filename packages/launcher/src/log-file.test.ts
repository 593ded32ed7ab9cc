/** Logs of kept processes that have become large. */
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LOG_FILE_BYTES } from '@flash-sale/core/config/limits.ts';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { copyAside, lastLines, openLog } from './log-file.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'flash-sale-log-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test('two files bound the disk, and the process writes on through the descriptor it has', () => {
  const file = join(folder, 'api-1.log');
  const { fd } = openLog(file);
  writeSync(fd, 'first\n'.repeat(100));
  copyAside(file, 1_000);
  expect(existsSync(`${file}.1`)).toBe(false);
  copyAside(file, 100);
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
  copyAside(file, 100);
  writeSync(fd, 'second\n');
  expect(readFileSync(file, 'utf8')).toBe('second\n');
  closeSync(fd);
});

test('a large log of a process that is started again is set aside whole, beside those that are there already', () => {
  const file = join(folder, 'api-1.log');
  for (const life of ['first', 'second', 'third']) {
    writeFileSync(file, `${life}\n`);
    truncateSync(file, LOG_FILE_BYTES + 1);
    const { fd, size } = openLog(file);
    expect(size).toBe(0);
    closeSync(fd);
  }
  const others = readdirSync(folder)
    .filter((name) => name !== 'api-1.log')
    .sort();
  expect(others).toHaveLength(3);
  expect(others.map((name) => statSync(join(folder, name)).size)).toEqual(Array(3).fill(LOG_FILE_BYTES + 1));
  expect(others.map((name) => readFileSync(join(folder, name)).toString('utf8', 0, 6))).toEqual([
    'first\n',
    'second',
    'third\n',
  ]);
});

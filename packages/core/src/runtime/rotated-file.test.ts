/** The accepted-order log of `npm start`: no line is lost while the file is rotated. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { listSetAside, openRotatedFile } from './rotated-file.ts';

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'flash-sale-log-'));
  file = join(folder, 'api-1.log');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const linesOf = (...paths: string[]): string[] =>
  paths.flatMap((path) => readFileSync(path, 'utf8').split('\n').slice(0, -1));

test('every line is in one of the files, in order', () => {
  const log = openRotatedFile(file, { bytes: 1_000, files: 1_000 });
  const lines = Array.from({ length: 5_000 }, (_, i) => `line ${i}`);
  for (const line of lines) expect(log.write(`${line}\n`)).toBe(true);
  expect(listSetAside(file).length).toBeGreaterThan(40);
  expect(linesOf(...listSetAside(file), file)).toEqual(lines);
});

test('a process that is killed has written every line that it reported as written', async () => {
  const script = `
    import { writeSync } from 'node:fs';
    import { openRotatedFile } from ${JSON.stringify(fileURLToPath(new URL('./rotated-file.ts', import.meta.url)))};
    const log = openRotatedFile(${JSON.stringify(file)}, { bytes: 300, files: 100000 });
    for (let i = 0; ; i++) { log.write('line ' + i + '\\n'); writeSync(1, i + '\\n'); }`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  child.stdout.on('data', (chunk) => {
    said += chunk;
    if (said.length > 20_000) child.kill('SIGKILL');
  });
  await once(child, 'close');
  const last = Number(said.split('\n').at(-2));
  expect(last).toBeGreaterThan(1_000);
  const written = new Set(linesOf(...readdirSync(folder).map((name) => join(folder, name))));
  expect(Array.from({ length: last + 1 }, (_, i) => `line ${i}`).filter((line) => !written.has(line))).toEqual([]);
}, 30_000);

test('the oldest files are deleted, and an existing file is appended to', () => {
  writeFileSync(file, 'of an earlier process\n');
  const log = openRotatedFile(file, { bytes: 40, files: 3 });
  for (let i = 0; i < 100; i++) log.write(`line ${i}\n`);
  expect(listSetAside(file)).toHaveLength(3);
  expect(linesOf(...listSetAside(file), file).at(-1)).toBe('line 99');
  const other = join(folder, 'api-2.log');
  openRotatedFile(other).write('another process\n');
  expect(listSetAside(other)).toEqual([]);
});

test('a failed write returns false, and writing continues once it is possible again', () => {
  mkdirSync(file);
  const log = openRotatedFile(file);
  expect(log.write('lost\n')).toBe(false);
  rmSync(file, { recursive: true });
  expect(log.write('kept\n')).toBe(true);
  expect(linesOf(file)).toEqual(['kept']);
});

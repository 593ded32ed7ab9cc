import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { listSetAside } from '@flash-sale/core/runtime/rotated-file.ts';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { BACKOFF, type KeepOptions, type KeptProcess, keepProcess, restartDelay } from './keep-process.ts';
import { commandLine } from './process-table.ts';

let folder = '';
let kept: KeptProcess | undefined;
let lines: string[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'keep-process-'));
  lines = [];
});

afterEach(async () => {
  await kept?.stop(5_000);
  rmSync(folder, { recursive: true, force: true });
});

function keep(script: string, more: Partial<KeepOptions> = {}): KeptProcess {
  const file = join(folder, 'child.mjs');
  writeFileSync(file, script);
  kept = keepProcess({
    name: 'child',
    command: process.execPath,
    args: [file],
    logFile: join(folder, 'logs', 'child.log'),
    say: (line) => lines.push(line),
    backoff: { firstMs: 20, mostMs: 100, steadyMs: 60_000 },
    ...more,
  });
  return kept;
}

const STAYS = 'setInterval(() => {}, 1000);';
const READY = 'process.send({ ready: true });';

test('the pause before a new start doubles from 0.25 s to 10 s', () => {
  expect([1, 2, 3, 4, 5, 6, 7, 20].map((deaths) => restartDelay(deaths, BACKOFF))).toEqual([
    250, 500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000,
  ]);
});

test('a child that dies is started again, and a line says why, when and where to look', async () => {
  const pids: number[] = [];
  const child = keep(`console.log('life'); process.exit(3);`, { onStarted: (pid) => pids.push(pid) });
  await vi.waitFor(() => expect(pids.length).toBeGreaterThanOrEqual(3), 5_000);
  await child.stop(1_000);
  expect(lines[0]).toBe(`child ended (exit code 3); starts again in 0.02 s. Log: ${child.logFile}`);
  expect(lines[1]).toContain('starts again in 0.04 s');
  expect(new Set(pids).size).toBe(pids.length);
  expect(readFileSync(child.logFile, 'utf8').match(/life/g)?.length).toBeGreaterThanOrEqual(2);
});

test('after a life that was long enough the pause begins at its shortest again', async () => {
  keep('setTimeout(() => process.exit(1), 150);', { backoff: { firstMs: 20, mostMs: 10_000, steadyMs: 100 } });
  await vi.waitFor(() => expect(lines.length).toBeGreaterThanOrEqual(3), 5_000);
  expect(lines.every((line) => line.includes('starts again in 0.02 s'))).toBe(true);
});

test('EX_CONFIG before it was ready: given up, with its last words', async () => {
  const child = keep(`console.log('{"level":30}'); console.error('PORT is wrong.'); process.exit(78);`, { ipc: true });
  await expect(child.ready).rejects.toThrow('child could not start (exit code 78).\n  PORT is wrong.');
  expect((await child.gaveUp).message).toContain('PORT is wrong.');
  expect(lines).toEqual([]);
  expect(child.pid).toBeUndefined();
});

test('EX_CONFIG after it was ready is a death like others', async () => {
  const child = keep(`${READY} setTimeout(() => process.exit(78), 50);`, { ipc: true });
  await child.ready;
  await vi.waitFor(() => expect(lines.length).toBeGreaterThanOrEqual(1), 5_000);
  expect(lines[0]).toContain('exit code 78');
});

test('a command that does not exist is given up by a server, with the reason', async () => {
  const child = keep('', { command: join(folder, 'absent'), args: [], beforeReady: 'give-up' });
  await expect(child.ready).rejects.toThrow('ENOENT');
});

test('stop asks with the signal, and the child is not started again', async () => {
  const child = keep(`process.on('SIGTERM', () => { console.log('bye'); process.exit(0); }); ${READY} ${STAYS}`, {
    ipc: true,
  });
  await child.ready;
  const pid = child.pid as number;
  await child.stop(5_000);
  expect(readFileSync(child.logFile, 'utf8')).toBe('bye\n');
  expect(commandLine(pid)).toBeUndefined();
  expect(lines).toEqual([]);
});

test('a child that does not hear the signal is killed, and a line says so', async () => {
  const child = keep(`process.on('SIGTERM', () => {}); ${READY} ${STAYS}`, { ipc: true });
  await child.ready;
  const pid = child.pid as number;
  await child.stop(100);
  expect(commandLine(pid)).toBeUndefined();
  expect(lines).toEqual(['child did not stop within 0.1 s and is killed.']);
});

test('a log above 20 MB is set aside when its process starts', async () => {
  const log = join(folder, 'child.log');
  writeFileSync(log, Buffer.alloc(21 * 1024 * 1024, 'x'));
  const child = keep(`console.log('new'); ${READY} ${STAYS}`, { ipc: true, logFile: log });
  await child.ready;
  expect(readFileSync(log, 'utf8')).toBe('new\n');
  expect(listSetAside(log).map((file) => statSync(file).size)).toEqual([21 * 1024 * 1024]);
});

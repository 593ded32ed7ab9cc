import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LOG_FILE_BYTES, listSetAside } from '@flash-sale/core/runtime/rotated-file.ts';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { type KeepOptions, KeptProcess } from './keep-process.ts';
import { worksIn } from './process-table.ts';

let folder = '';
let kept: KeptProcess | undefined;
let lines: string[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'keep-process-'));
  lines = [];
});

afterEach(async () => {
  await kept?.stop();
  rmSync(folder, { recursive: true, force: true });
});

const isRunning = (pid: number): boolean => worksIn(pid, process.execPath);

function keep(script: string, more: Partial<KeepOptions> = {}): KeptProcess {
  const file = join(folder, 'child.mjs');
  writeFileSync(file, script);
  kept = new KeptProcess({
    name: 'child',
    kind: 'app',
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

test('a child that exits is restarted, and a line says why, when and where to look', async () => {
  const pids: (number | undefined)[] = [];
  const child = keep(`console.log('life'); process.exit(3);`, { onStarted: ({ pid }) => pids.push(pid) });
  await vi.waitFor(() => expect(pids.length).toBeGreaterThanOrEqual(6), 10_000);
  await child.stop();
  expect(lines[0]).toBe(`child exited (exit code 3); restarts in 0.02 s. Log: ${child.logFile}`);
  const pauses = lines.slice(0, 5).map((line) => /restarts in ([\d.]+) s/.exec(line)?.[1]);
  expect(pauses).toEqual(['0.02', '0.04', '0.08', '0.1', '0.1']);
  expect(new Set(pids).size).toBe(pids.length);
  expect(readFileSync(child.logFile, 'utf8').match(/life/g)?.length).toBeGreaterThanOrEqual(2);
});

test.each<{ what: string; script: string; kind: KeepOptions['kind']; restarts: string[] }>([
  {
    what: 'an app that was ready for long enough, however often it is killed: at once',
    script: `process.send({ ready: true }); setTimeout(() => process.exit(1), 500);`,
    kind: 'app',
    restarts: ['at once', 'at once', 'at once'],
  },
  {
    what: 'a server that ran long enough: at once',
    script: 'setTimeout(() => process.exit(1), 500);',
    kind: 'server',
    restarts: ['at once', 'at once', 'at once'],
  },
  {
    what: 'an app that ends as soon as it is ready: later each time',
    script: `process.send({ ready: true }, () => process.exit(1));`,
    kind: 'app',
    restarts: ['in 0.02 s', 'in 0.04 s', 'in 0.08 s'],
  },
  {
    what: 'an app that was never ready, however long it tried: later each time',
    script: 'setTimeout(() => process.exit(1), 500);',
    kind: 'app',
    restarts: ['in 0.02 s', 'in 0.04 s', 'in 0.08 s'],
  },
])('restarts of $what', async ({ script, kind, restarts }) => {
  const child = keep(script, { kind, backoff: { firstMs: 20, mostMs: 10_000, steadyMs: 100 } });
  if (kind === 'server') child.markReady();
  await vi.waitFor(() => expect(lines.length).toBeGreaterThanOrEqual(3), 8_000);
  expect(lines.slice(0, 3).map((line) => /restarts (.*)\. Log/.exec(line)?.[1])).toEqual(restarts);
});

test.each<{ what: string; script?: string; more?: Partial<KeepOptions>; sentence: string }>([
  {
    what: 'an app with EX_CONFIG, without its log lines',
    script: `console.log('{"level":30}'); console.error('PORT is wrong.'); process.exit(78);`,
    sentence: 'child could not start (exit code 78).\n  PORT is wrong.',
  },
  {
    what: 'a server that exits',
    script: `console.error('no disk'); process.exit(1);`,
    more: { kind: 'server' },
    sentence: 'child could not start (exit code 1).\n  no disk',
  },
  {
    what: 'an app that is not to be restarted',
    script: `console.error('no server'); process.exit(1);`,
    more: { restart: false },
    sentence: 'child could not start (exit code 1).\n  no server',
  },
  {
    what: 'a server that does not exist',
    more: { kind: 'server', command: '/nowhere/absent', args: [] },
    sentence: 'ENOENT',
  },
])('it fails before it was ready, with its last lines: $what', async ({ script = '', more = {}, sentence }) => {
  const child = keep(script, more);
  await expect(child.ready).rejects.toThrow(sentence);
  expect(child.pid).toBeUndefined();
  expect(lines).toEqual([]);
});

test('EX_CONFIG after it was ready is an exit like others', async () => {
  const child = keep(`${READY} setTimeout(() => process.exit(78), 50);`);
  await child.ready;
  await vi.waitFor(() => expect(lines[0]).toContain('exit code 78'), 5_000);
});

test('stop asks with the signal, and the child is not restarted', async () => {
  const child = keep(`process.on('SIGTERM', () => { console.log('bye'); process.exit(0); }); ${READY} ${STAYS}`);
  await child.ready;
  const pid = child.pid as number;
  expect(isRunning(pid)).toBe(true);
  await child.stop();
  expect(readFileSync(child.logFile, 'utf8')).toBe('bye\n');
  expect(isRunning(pid)).toBe(false);
  expect(lines).toEqual([]);
});

test('a child that ignores the signal is killed, with what it started, and a line says so', async () => {
  const grandchild = `import { spawn } from 'node:child_process';
    const { pid } = spawn(process.execPath, ['-e', '${STAYS}']); console.log(pid);`;
  const child = keep(`${grandchild} process.on('SIGTERM', () => {}); ${READY} ${STAYS}`, { stopTimeoutMs: 100 });
  await child.ready;
  const pid = child.pid as number;
  expect(isRunning(pid)).toBe(true);
  await child.stop();
  expect(isRunning(pid)).toBe(false);
  await vi.waitFor(() => expect(isRunning(Number(readFileSync(child.logFile, 'utf8')))).toBe(false), 5_000);
  expect(lines).toEqual(['child did not stop within 0.1 s and was killed.']);
});

test('two files bound the log of a server', async () => {
  const logFile = join(folder, 'server.log');
  for (const last of ['first', 'second']) {
    writeFileSync(logFile, '');
    truncateSync(logFile, LOG_FILE_BYTES);
    await expect(keep(`console.log('${last}'); process.exit(1)`, { kind: 'server', logFile }).ready).rejects.toThrow(
      last,
    );
  }
  const [aside = '', ...more] = listSetAside(logFile);
  expect(more).toEqual([]);
  expect(statSync(aside).size).toBe(LOG_FILE_BYTES + 'second\n'.length);
});

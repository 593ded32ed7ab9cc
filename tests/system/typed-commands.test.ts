/** Commands of the docs, run in a shell; only folder and ports are changed. */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { signalProcess, worksIn } from '@flash-sale/launcher/process-table.ts';
import { writeSystemFile } from '@flash-sale/launcher/running-system.ts';
import { afterEach, beforeEach, expect, onTestFinished, test } from 'vitest';
import { ask, useWorld } from '../support/fixtures.ts';
import { freePort } from '../support/free-port.ts';
import { ADMIN_TOKEN } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';
import { eventually } from '../support/world.ts';
import { root } from '../tidy/source-files.ts';

const world = useWorld();
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'flash-sale-typed-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** The command of a page, with our folder in place of .data. */
function documented(page: string, command: RegExp): string {
  const [found] = command.exec(readFileSync(join(root, page), 'utf8')) ?? [];
  if (found === undefined) throw new Error(`${page} has no ${command}`);
  return found.replaceAll('.data/logs/', `${folder}/`).replaceAll('.data/', `${folder}/`);
}

test('an API process that is added by hand has the settings of the running ones', async () => {
  const [port, adminPort, metricsPort] = await Promise.all([freePort(), freePort(), freePort()]);
  const sale = await makeSale(world);
  writeSystemFile(folder, {
    REDIS_URL: world.redisUrl,
    DATABASE_URL: world.databaseUrl,
    KEY_PREFIX: world.prefix,
    ADMIN_TOKEN,
    AUTH: 'jwt',
    JWT_SECRET: "sT4-kq9ZxW7mPv2LrB8n'$Yc5HdF1jGa6E",
    JWT_ISSUER: 'https://id.example/it\'s "$HOME"',
    JWT_AUDIENCE: 'a shop',
    PORT: String(port),
    ADMIN_PORT: String(adminPort),
  });
  const typed = documented('docs/operations.md', /^\(set -a;[^)]*apps\/api\/src\/main\.ts\)$/m);
  // A terminal with settings of its own.
  const terminal = {
    PATH: process.env.PATH,
    AUTH: 'header',
    REDIS_URL: world.redisUrl,
    DATABASE_URL: world.databaseUrl,
  };
  let output = '';
  // Without the brackets the shell becomes the process, so that we can end it.
  const inner = typed.slice(1, -1).replace(/METRICS_PORT=\d+/, `METRICS_PORT=${metricsPort}`);
  const api = spawn('sh', ['-c', inner], { cwd: root, env: terminal, stdio: ['ignore', 'ignore', 'pipe'] });
  const ended = once(api, 'exit');
  onTestFinished(async () => {
    api.kill('SIGKILL');
    await ended;
  });
  api.stderr?.on('data', (chunk) => (output += chunk));
  const base = `http://127.0.0.1:${port}`;
  await eventually('it answers', 30_000, async () => {
    if (api.exitCode !== null) throw new Error(`it ended:\n${output}`);
    return (await fetch(`${base}/health`).catch(() => null)) !== null;
  });
  const order = async (headers: Record<string, string>) =>
    (await ask(`${base}/api/flash-sales/${sale.id}/order`, { method: 'POST', headers })).word;
  expect(await order({ 'x-user-id': 'mallory' })).toBe('401 BUYER_REQUIRED');
  expect((await fetch(`${base}/api/admin/sales`)).status).toBe(404);
  expect((await fetch(`http://127.0.0.1:${adminPort}/api/admin/sales`)).status).toBe(401);

  const lines = documented('docs/operations.md', /^BUYER_TOKEN=[\s\S]*?'\)$/m);
  const token = execFileSync('sh', ['-c', `${lines}\nprintf %s "$BUYER_TOKEN"`], { env: terminal, encoding: 'utf8' });
  expect(await order({ authorization: `Bearer ${token}` })).toBe('200 accepted');
  expect(await order({ authorization: `Bearer ${token}x` })).toBe('401 INVALID_TOKEN');
}, 60_000);

test('without system.env nothing starts, whatever the terminal’s environment', () => {
  const terminal = { PATH: process.env.PATH, REDIS_URL: world.redisUrl, DATABASE_URL: world.databaseUrl, ADMIN_TOKEN };
  const commands = documented('docs/operations.md', /^\(set -a;[^)]*apps\/api\/src\/main\.ts\)$/m);
  for (const shell of ['sh', 'bash']) {
    const typed = spawnSync(shell, ['-c', commands], { cwd: root, env: terminal, encoding: 'utf8', timeout: 20_000 });
    expect(typed.status, shell).toBeGreaterThan(0);
    expect(typed.stderr, shell).toMatch(/system\.env/);
    // An API opens its log before anything else.
    expect(existsSync(join(folder, 'api-9.log')), shell).toBe(false);
  }
});

/** @param inVitest runs in place of vitest */
function startNpmTest(inVitest: string) {
  const preloaded = join(folder, 'preloaded.mjs');
  writeFileSync(
    preloaded,
    `import { spawn } from 'node:child_process';
     import { writeFileSync } from 'node:fs';
     if (process.argv[1].endsWith('vitest.mjs')) {${inVitest}}`,
  );
  const { redisUrl: REDIS_URL, databaseUrl: DATABASE_URL } = world;
  const env = { PATH: process.env.PATH, NODE_OPTIONS: `--import=${preloaded}`, REDIS_URL, DATABASE_URL };
  const npmTest = spawn(process.execPath, [join(root, 'scripts', 'test.ts')], {
    env,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let output = '';
  npmTest.stdout.on('data', (chunk) => (output += chunk));
  const ended = once(npmTest, 'exit');
  return { npmTest, ended, lastLine: () => output.trimEnd().split('\n').at(-1) };
}

const INTERRUPTED = 'The run was interrupted (SIGTERM): there is no result.';

test('an interrupted npm test says so in its last line', async () => {
  const begun = join(folder, 'begun');
  const waits = `writeFileSync(${JSON.stringify(begun)}, ''); setInterval(() => {}, 1000); await new Promise(() => {});`;
  const { npmTest, ended, lastLine } = startNpmTest(waits);
  await eventually('vitest runs', 20_000, () => existsSync(begun));
  npmTest.kill('SIGTERM');
  expect((await ended)[0]).toBe(1);
  expect(lastLine()).toBe(INTERRUPTED);
}, 60_000);

test('repeated stop signals make npm test kill a hung vitest and its children, and say that it was interrupted', async () => {
  const pids = join(folder, 'pids');
  const { npmTest, ended, lastLine } = startNpmTest(`
       process.on('SIGTERM', () => {});
       const deaf = "process.on('SIGTERM', () => {}); setInterval(() => {}, 1000)";
       const child = spawn(process.execPath, ['-e', deaf, ${JSON.stringify(folder)}], { env: {}, stdio: 'ignore' });
       writeFileSync(${JSON.stringify(pids)}, process.pid + ' ' + child.pid + ' ');
       Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
     `);
  await eventually('vitest hangs', 20_000, () => existsSync(pids) && readFileSync(pids, 'utf8').endsWith(' '));
  const [vitest = 0, child = 0] = readFileSync(pids, 'utf8').split(' ').map(Number);
  onTestFinished(() => {
    for (const pid of [vitest, child]) signalProcess(pid, 'SIGKILL');
  });
  const left = () => [worksIn(vitest, join(root, 'node_modules')), worksIn(child, folder)];
  expect(left()).toEqual([true, true]);
  // Further apart than the repeats of one Ctrl-C, and before vitest's own time is over.
  for (const pauseMs of [0, 700, 700]) {
    await sleep(pauseMs);
    npmTest.kill('SIGTERM');
  }
  expect((await ended)[0]).toBe(1);
  expect(lastLine()).toBe(INTERRUPTED);
  await eventually('nothing is left', 2_000, () => !left().includes(true));
}, 60_000);

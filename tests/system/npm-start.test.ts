/** `npm start`: first order, killed processes, second start, and a stop that leaves nothing. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { API_SECRETS, SettingsSchema } from '@flash-sale/core/config/settings.ts';
import { checkRedis } from '@flash-sale/core/runtime/redis/check-redis.ts';
import { test as base, expect } from 'vitest';
import type { AnyJson } from '../support/any-json.ts';
import { ask } from '../support/fixtures.ts';
import { freePort } from '../support/free-port.ts';
import { eventually } from '../support/world.ts';
import { root } from '../tidy/source-files.ts';

class Installation {
  readonly folder = mkdtempSync(join(tmpdir(), 'flash-sale-start-'));
  readonly port: number;
  readonly #started: Started[] = [];

  constructor(port: number) {
    this.port = port;
    // PostgreSQL runs under another account when we are root.
    chmodSync(this.folder, 0o711);
    // A Redis that was fetched for the tests need not be fetched again.
    const fetched = process.env.TEST_REDIS_DIST;
    if (fetched && existsSync(fetched)) symlinkSync(fetched, join(this.folder, 'redis-dist'));
  }

  npmStart(changed: Record<string, string> = {}): Started {
    const { TEST_REDIS_URL: _redis, TEST_DATABASE_URL: _database, ...inherited } = process.env;
    const settings = { NODE_ENV: 'development', WARM_UP: 'off', PORT: String(this.port), DATA_DIR: this.folder };
    const npm = spawn('npm', ['start', '--silent'], {
      cwd: root,
      env: { ...inherited, ...settings, ...changed },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    npm.stdout?.on('data', (chunk) => (output += chunk));
    npm.stderr?.on('data', (chunk) => (output += chunk));
    const exit = once(npm, 'exit').then(([code]) => code as number | null);
    const one = { npm, output: () => output, exit };
    this.#started.push(one);
    return one;
  }

  async get(path: string, headers: Record<string, string> = {}): Promise<AnyJson> {
    return (await ask(`http://127.0.0.1:${this.port}${path}`, { headers })).body;
  }

  async order(): Promise<AnyJson> {
    const url = `http://127.0.0.1:${this.port}/api/flash-sales/product1/order`;
    return (await ask(url, { method: 'POST', headers: { 'X-User-ID': 'user123' } })).body;
  }

  async statusOf(orderId: string): Promise<string> {
    return (await this.get(`/api/orders/${orderId}`, { 'X-User-ID': 'user123' })).status;
  }

  async remaining(): Promise<number> {
    return (await this.get('/api/flash-sales/product1')).product.remaining;
  }

  pids(): Record<string, number> {
    return JSON.parse(readFileSync(join(this.folder, 'running.json'), 'utf8')).processes;
  }

  async end(): Promise<void> {
    for (const { npm } of this.#started) npm.kill('SIGTERM');
    await Promise.all(this.#started.map(({ exit }) => exit));
    rmSync(this.folder, { recursive: true, force: true });
  }
}

interface Started {
  readonly npm: ChildProcess;
  readonly output: () => string;
  readonly exit: Promise<number | null>;
}

const test = base.extend('here', async ({ task: _task }, { onCleanup }) => {
  const here = new Installation(await freePort());
  onCleanup(() => here.end());
  return here;
});

async function whenStarted(one: Started): Promise<void> {
  await eventually('it says how to stop', 90_000, () => {
    if (one.npm.exitCode !== null) throw new Error(`npm start ended:\n${one.output()}`);
    return one.output().includes('Ctrl-C');
  });
}

const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

const parseEnvironment = (text: string): Record<string, string> =>
  Object.fromEntries(text.split('\0').map((line) => [line.split('=', 1)[0], line.slice(line.indexOf('=') + 1)]));

test.concurrent('from first order to stop: stock survives restarts, killed processes restart, nothing is left behind', async ({
  here,
}) => {
  const first = here.npmStart();
  const statusOf = (path: string) =>
    fetch(`http://127.0.0.1:${here.port}${path}`).then(
      ({ status }) => status,
      () => 0,
    );
  await eventually('it is healthy', 90_000, async () => (await statusOf('/health')) === 200);
  // A script that waits for that may order at once.
  expect(await statusOf('/api/flash-sales/product1')).toBe(200);
  await whenStarted(first);
  expect((await here.get('/api/flash-sales')).flash_sales).toMatchObject([
    {
      id: 'product1',
      name: 'Limited Edition Gadget',
      original_price: 199.99,
      flash_sale_price: 99.99,
      remaining: 10,
      per_buyer_limit: 0,
    },
    { id: 'product2', remaining: 1_000, per_buyer_limit: 1 },
  ]);
  const placed = await here.order();
  expect(placed).toMatchObject({ status: 'accepted', remaining: 9 });
  const isConfirmed = async ({ order_id }: AnyJson) => (await here.statusOf(order_id)) === 'confirmed';
  await eventually('the order is confirmed', 5_000, () => isConfirmed(placed));

  const lines = readFileSync(join(here.folder, 'system.env'), 'utf8').matchAll(/^([A-Z_]+)='(.*)'$/gm);
  const written = Object.fromEntries(Array.from(lines, ([, name, text]) => [name, text]));
  expect(written).toMatchObject({ PORT: String(here.port), REDIS_URL: expect.stringContaining('redis://') });
  for (const name of process.platform === 'linux' ? ['api-1', 'worker-1'] : []) {
    const got = parseEnvironment(readFileSync(`/proc/${here.pids()[name]}/environ`, 'utf8'));
    const differ = Object.keys(SettingsSchema.properties).filter(
      (setting) => setting !== 'LOG_FILE' && got[setting] && got[setting] !== written[setting],
    );
    const withheld = name === 'worker-1' ? API_SECRETS.filter((secret) => got[secret] !== '') : [];
    expect([...differ, ...withheld], name).toEqual([]);
  }

  // The login for the board is on the terminal.
  const password = /(?:password|token)[^A-Za-z0-9_-]+([A-Za-z0-9_-]{43})/i.exec(first.output())?.[1];
  expect(password).toBeDefined();
  const login = { authorization: `Basic ${btoa(`admin:${password}`)}` };
  expect((await ask(`http://127.0.0.1:${here.port}/admin/queues`, { headers: login })).status).toBe(200);

  for (const killed of [
    ['api-1', 'worker-1'],
    ['redis', 'postgres'],
  ]) {
    const before = here.pids();
    for (const name of killed) process.kill(before[name] as number, 'SIGKILL');
    await eventually(`${killed} run again`, 30_000, async () => {
      const now = here.pids();
      const health = await fetch(`http://127.0.0.1:${here.port}/health`).catch(() => null);
      return killed.every((name) => now[name] !== undefined && now[name] !== before[name]) && health?.status === 200;
    });
    await eventually('an order is confirmed', 30_000, async () => {
      const again = await here.order();
      if (again.status !== 'accepted') return false;
      await eventually('this one', 20_000, () => isConfirmed(again));
      return true;
    });
  }
  expect(first.output()).toMatch(/api.*(SIGKILL|killed)/);

  const remaining = await here.remaining();
  const running = Object.values(here.pids());
  first.npm.kill('SIGTERM');
  await first.exit;
  expect(running.filter(alive)).toEqual([]);
  expect(existsSync(join(here.folder, 'running.json'))).toBe(false);

  const second = here.npmStart();
  const startedAt = Date.now();
  await whenStarted(second);
  expect(Date.now() - startedAt).toBeLessThan(20_000);
  expect(second.output()).toMatch(/product1 kept \(\d+ left\), product2 kept/);
  await eventually('stock is as it was', 3_000, async () => (await here.remaining()) === remaining);
  expect(await isConfirmed(placed)).toBe(true);

  const third = here.npmStart();
  expect(await third.exit).not.toBe(0);
  expect(third.output()).toContain('already');
  expect(existsSync(join(here.folder, 'system.env'))).toBe(true);
}, 180_000);

test.concurrent('a port in use or a misspelled setting: a message and an exit code', async ({ here }) => {
  const server = createServer().listen(here.port, '127.0.0.1');
  await once(server, 'listening');
  const taken = here.npmStart();
  expect(await taken.exit).not.toBe(0);
  for (const named of ['PORT', String(here.port)]) expect(taken.output()).toContain(named);
  server.close();
  const misspelled = here.npmStart({ PORT: 'abc' });
  expect(await misspelled.exit).toBe(78);
  expect(misspelled.output()).toContain('PORT is "abc". Expected:');
}, 120_000);

test.concurrent('[trap 32] no Redis at the address, an old one, one that evicts: a message and an exit code', async ({
  here,
}) => {
  const withoutRedis = here.npmStart({ REDIS_URL: 'redis://127.0.0.1:9' });
  expect(await withoutRedis.exit).not.toBe(0);
  expect(withoutRedis.output()).toContain('No Redis answers at redis://127.0.0.1:9');
  for (const [info, sentence] of [
    ['redis_version:6.2.14\r\nmaxmemory_policy:noeviction\r\n', 'Redis 6.2.14 is too old'],
    ['redis_version:7.4.0\r\nmaxmemory_policy:allkeys-lru\r\n', 'maxmemory-policy allkeys-lru'],
  ] as const) {
    const pretender = await pretendRedis(info);
    await expect(checkRedis(`redis://127.0.0.1:${pretender.port}`)).rejects.toThrow(sentence);
    pretender.close();
  }
}, 120_000);

/** Answers INFO as an old server does, and every other command as any Redis does. */
async function pretendRedis(info: string): Promise<{ port: number; close(): void }> {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      for (const [, command] of chunk.toString().matchAll(/\*\d+\r\n\$\d+\r\n(\w+)\r\n/g)) {
        if (command?.toLowerCase() === 'info') socket.write(`$${info.length}\r\n${info}\r\n`);
        else if (command?.toLowerCase() === 'hello') socket.write('-ERR unknown command HELLO\r\n');
        else socket.write('+OK\r\n');
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { port: (server.address() as AddressInfo).port, close: () => server.close() };
}

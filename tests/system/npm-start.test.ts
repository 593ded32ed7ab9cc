/** `npm start`: the first order, killed processes, a second start, and a stop that leaves nothing behind. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SettingsSchema } from '@flash-sale/core/config/settings.ts';
import { checkRedis } from '@flash-sale/core/runtime/redis/check-redis.ts';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { AnyJson } from '../support/any-json.ts';
import { freePort } from '../support/free-port.ts';
import { eventually } from '../support/world.ts';
import { root } from '../tidy/source-files.ts';

let folder: string;
let port: number;
let started: Started[];

interface Started {
  readonly npm: ChildProcess;
  readonly output: () => string;
  readonly exit: Promise<number | null>;
}

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'flash-sale-start-'));
  // PostgreSQL runs under another account when we are root.
  chmodSync(folder, 0o711);
  // A Redis that was fetched for the tests need not be fetched again.
  const fetched = process.env.TEST_REDIS_DIST;
  if (fetched && existsSync(fetched)) symlinkSync(fetched, join(folder, 'redis-dist'));
  port = await freePort();
  started = [];
});
afterEach(async () => {
  for (const { npm, exit } of started) {
    npm.kill('SIGTERM');
    await exit;
  }
  rmSync(folder, { recursive: true, force: true });
});

function npmStart(changed: Record<string, string> = {}): Started {
  const { TEST_REDIS_URL: _redis, TEST_DATABASE_URL: _database, ...inherited } = process.env;
  const npm = spawn('npm', ['start', '--silent'], {
    cwd: root,
    env: { ...inherited, NODE_ENV: 'development', PORT: String(port), DATA_DIR: folder, ...changed },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  npm.stdout?.on('data', (chunk) => (output += chunk));
  npm.stderr?.on('data', (chunk) => (output += chunk));
  const exit = once(npm, 'exit').then(([code]) => code as number | null);
  const one = { npm, output: () => output, exit };
  started.push(one);
  return one;
}

const url = (path: string): string => `http://127.0.0.1:${port}${path}`;

async function whenStarted(one: Started): Promise<void> {
  await eventually('it says how to stop', 90_000, () => {
    if (one.npm.exitCode !== null) throw new Error(`npm start ended:\n${one.output()}`);
    return one.output().includes('Ctrl-C');
  });
}

async function order(): Promise<AnyJson> {
  const response = await fetch(url('/api/flash-sales/product1/order'), {
    method: 'POST',
    headers: { 'X-User-ID': 'user123' },
  });
  return response.json();
}

const state = async (orderId: string): Promise<string> =>
  ((await (await fetch(url(`/api/orders/${orderId}`), { headers: { 'X-User-ID': 'user123' } })).json()) as AnyJson)
    .status;

const pids = (): Record<string, number> => JSON.parse(readFileSync(join(folder, 'running.json'), 'utf8')).processes;

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

test('from the first order to the end: stock survives restarts, killed processes restart, and nothing is left behind', async () => {
  const first = npmStart();
  await whenStarted(first);
  const list = (await (await fetch(url('/api/flash-sales'))).json()) as AnyJson;
  expect(list.flash_sales).toMatchObject([
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
  const placed = await order();
  expect(placed).toMatchObject({ status: 'accepted', remaining: 9 });
  await eventually('the order is confirmed', 5_000, async () => (await state(placed.order_id)) === 'confirmed');

  const lines = readFileSync(join(folder, 'system.env'), 'utf8').matchAll(/^([A-Z_]+)='(.*)'$/gm);
  const written = Object.fromEntries(Array.from(lines, ([, name, text]) => [name, text]));
  expect(written).toMatchObject({ PORT: String(port), REDIS_URL: expect.stringContaining('redis://') });
  for (const name of process.platform === 'linux' ? ['api-1', 'worker-1'] : []) {
    const got = parseEnvironment(readFileSync(`/proc/${pids()[name]}/environ`, 'utf8'));
    const differ = Object.keys(SettingsSchema.properties).filter(
      (setting) => setting !== 'LOG_FILE' && got[setting] && got[setting] !== written[setting],
    );
    expect(differ, name).toEqual([]);
  }

  // The board, logged in as the lines on the terminal say.
  const password = /(?:password|token)[^A-Za-z0-9_-]+([A-Za-z0-9_-]{43})/i.exec(first.output())?.[1];
  expect(password).toBeDefined();
  const board = await fetch(url('/admin/queues'), { headers: { authorization: `Basic ${btoa(`admin:${password}`)}` } });
  expect(board.status).toBe(200);

  const before = pids();
  for (const name of ['api-1', 'worker-1', 'redis', 'postgres']) {
    process.kill(before[name] as number, 'SIGKILL');
    await eventually(`${name} runs again`, 30_000, async () => {
      const now = pids()[name];
      const health = await fetch(url('/health')).catch(() => null);
      return now !== undefined && now !== before[name] && health?.status === 200;
    });
    await eventually('an order is confirmed', 30_000, async () => {
      const again = await order();
      if (again.status !== 'accepted') return false;
      await eventually('this one', 20_000, async () => (await state(again.order_id)) === 'confirmed');
      return true;
    });
  }
  expect(first.output()).toMatch(/api.*(SIGKILL|killed)/);

  const remaining = ((await (await fetch(url('/api/flash-sales/product1'))).json()) as AnyJson).product.remaining;
  const running = Object.values(pids());
  first.npm.kill('SIGTERM');
  await first.exit;
  expect(running.filter(alive)).toEqual([]);
  expect(existsSync(join(folder, 'running.json'))).toBe(false);

  const second = npmStart();
  const startedAt = Date.now();
  await whenStarted(second);
  expect(Date.now() - startedAt).toBeLessThan(20_000);
  await eventually('stock is as it was', 3_000, async () => {
    const { product } = (await (await fetch(url('/api/flash-sales/product1'))).json()) as AnyJson;
    return product.remaining === remaining;
  });
  expect(await state(placed.order_id)).toBe('confirmed');

  const third = npmStart();
  expect(await third.exit).not.toBe(0);
  expect(third.output()).toContain('already');
  expect(existsSync(join(folder, 'system.env'))).toBe(true);
}, 180_000);

test('[trap 32] a port in use, no Redis at the address, an old Redis, one that evicts: a sentence, and an exit code', async () => {
  const server = createServer().listen(port, '127.0.0.1');
  await once(server, 'listening');
  const taken = npmStart();
  expect(await taken.exit).not.toBe(0);
  expect(taken.output()).toContain(String(port));
  expect(taken.output()).toContain('PORT');
  server.close();

  const nobody = npmStart({ REDIS_URL: 'redis://127.0.0.1:9' });
  expect(await nobody.exit).not.toBe(0);
  expect(nobody.output()).toContain('No Redis answers at redis://127.0.0.1:9');

  const misspelled = npmStart({ PORT: 'abc' });
  expect(await misspelled.exit).toBe(78);
  expect(misspelled.output()).toContain('PORT is "abc". Expected:');

  for (const [info, sentence] of [
    ['redis_version:6.2.14\r\nmaxmemory_policy:noeviction\r\n', 'Redis 6.2.14 is too old'],
    ['redis_version:7.4.0\r\nmaxmemory_policy:allkeys-lru\r\n', 'maxmemory-policy allkeys-lru'],
  ] as const) {
    const pretender = await pretendRedis(info);
    await expect(checkRedis(`redis://127.0.0.1:${pretender.port}`)).rejects.toThrow(sentence);
    pretender.close();
  }
}, 120_000);

/** Old servers cannot be had here: this one answers INFO as they do, and every other command as any Redis does. */
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

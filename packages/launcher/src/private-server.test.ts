import { once } from 'node:events';
import { mkdtempSync, realpathSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkPostgres } from '@flash-sale/core/ledger/check-postgres.ts';
import { checkRedis } from '@flash-sale/core/runtime/redis/check-redis.ts';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { startPrivatePostgres } from './private-postgres.ts';
import { startPrivateRedis } from './private-redis.ts';
import { keptPort, type PrivateServer, type PrivateServerOptions, requireListenable } from './private-server.ts';
import { signalProcess, worksIn } from './process-table.ts';

// Unpacked once by `npm test`; a run of vitest alone unpacks its own.
const distFolder = process.env.TEST_REDIS_DIST;
let folder = '';
let servers: { stop(): Promise<void> }[] = [];

beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'private-server-')));
  servers = [];
});

afterEach(async () => {
  await Promise.all(servers.map((server) => server.stop()));
  rmSync(folder, { recursive: true, force: true });
});

async function redis(more: Partial<PrivateServerOptions> = {}): Promise<PrivateServer> {
  const server = await startPrivateRedis({ folder, ...more, ...(distFolder ? { distFolder } : {}) });
  servers.push(server);
  return server;
}

async function postgres(): Promise<PrivateServer> {
  const server = await startPrivatePostgres({ folder, durable: false });
  servers.push(server);
  return server;
}

async function listen(port: number): Promise<void> {
  const server = createServer().listen(port, '127.0.0.1');
  await once(server, 'listening');
  servers.push({ stop: async () => void server.close() });
}

test('Redis: append-only, known by its folder, at the same address after a stop; its secret is its own', async () => {
  const first = await redis();
  expect((await checkRedis(first.url)).appendOnly).toBe(true);
  const pid = first.pid as number;
  expect(worksIn(pid, folder)).toBe(true);
  await first.stop();
  expect(worksIn(pid, folder)).toBe(false);
  expect((await redis()).url).toBe(first.url);
  expect(statSync(join(folder, 'secrets', 'redis-password')).mode & 0o777).toBe(0o600);
  await expect(checkRedis(first.url.replace(/:[^:@]+@/, ':wrong@'))).rejects.toThrow('refuses the login');
  for (const login of ['', 'default@'])
    await expect(checkRedis(first.url.replace(/[^/]+@/, login))).rejects.toThrow('and REDIS_URL has none');
});

test('Redis: killed, it is back at the same address with another pid', async () => {
  const lines: string[] = [];
  const server = await redis({ say: (line) => lines.push(line) });
  const pid = server.pid as number;
  signalProcess(pid, 'SIGKILL');
  await vi.waitFor(() => expect(server.pid).not.toBe(pid), 5_000);
  await checkRedis(server.url, 10_000);
  expect(lines.at(-1)).toContain('redis exited (SIGKILL); restarts in 0.25 s');
});

test('Redis: with restart false it stays dead until it is started again on its folder', async () => {
  const server = await redis({ restart: false });
  server.kill();
  await vi.waitFor(() => expect(server.pid).toBeUndefined(), 5_000);
  expect((await redis({ restart: false })).url).toBe(server.url);
});

test('PostgreSQL: data and address outlive a stop and a kill', async () => {
  const first = await postgres();
  expect(await checkPostgres(first.url)).toMatch(/^1[5-9]|^[2-9]/);
  await first.stop();
  const second = await postgres();
  expect(second.url).toBe(first.url);
  const pid = second.pid as number;
  signalProcess(pid, 'SIGKILL');
  await vi.waitFor(() => expect(second.pid).not.toBe(pid), 5_000);
  await checkPostgres(second.url, 20_000);
});

test('a port is kept while it is free, outside of the range of outgoing connections', async () => {
  const file = join(folder, 'port');
  const port = await keptPort(file);
  expect(port).toBeGreaterThanOrEqual(20_000);
  expect(port).toBeLessThan(30_000);
  expect(await keptPort(file)).toBe(port);
  await listen(port);
  const other = await keptPort(file);
  expect(other).not.toBe(port);
  expect(await keptPort(file)).toBe(other);
});

test('a port file that has no port, or cannot be read, gets a new one', async () => {
  const file = join(folder, 'port');
  for (const text of ['', '24000.5', '70000', '-1', 'x']) {
    writeFileSync(file, text);
    expect(await keptPort(file), text).toBe(await keptPort(file));
  }
  const unreadable = join(folder, 'unreadable');
  symlinkSync(join(folder, 'gone', 'port'), unreadable);
  expect(await keptPort(unreadable)).toBe(await keptPort(unreadable));
});

test('a port or an address that cannot be used: which one, and how to choose another', async () => {
  const port = await keptPort(join(folder, 'port'));
  await listen(port);
  await expect(requireListenable('ADMIN_PORT', port, '127.0.0.1')).rejects.toThrow(
    `Port ${port} on 127.0.0.1 (ADMIN_PORT) is taken by another program. Stop that program, or choose another port: ADMIN_PORT=${port + 1}`,
  );
  await expect(requireListenable('ADMIN_PORT', 25_999, '192.0.2.1')).rejects.toThrow(
    'ADMIN_HOST=192.0.2.1 is not an address of this machine',
  );
});

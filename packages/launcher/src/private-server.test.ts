import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { keptPort, requireListenable } from './private-server.ts';

let server: Server | undefined;
const folder = mkdtempSync(join(tmpdir(), 'free-port-'));

afterEach(() => {
  server?.close();
  rmSync(join(folder, 'port'), { force: true });
});

async function listen(port = 0): Promise<number> {
  const listening = createServer().listen(port, '127.0.0.1');
  server = listening;
  await once(listening, 'listening');
  return (listening.address() as AddressInfo).port;
}

test('a taken port: which one, and how to choose another', async () => {
  const port = await listen();
  await expect(requireListenable(port, '127.0.0.1')).rejects.toThrow(
    `Port ${port} on 127.0.0.1 is taken by another program. Stop that program, or choose another port: PORT=`,
  );
});

test('an address of another machine', async () => {
  await expect(requireListenable(25_999, '192.0.2.1')).rejects.toThrow(
    'HOST=192.0.2.1 is not an address of this machine',
  );
});

test('a private port is kept while it is free, outside of the range of outgoing connections', async () => {
  const file = join(folder, 'port');
  const port = await keptPort(file);
  expect(port).toBeGreaterThanOrEqual(20_000);
  expect(port).toBeLessThan(30_000);
  expect(await keptPort(file)).toBe(port);
  await listen(port);
  const other = await keptPort(file);
  expect(other).not.toBe(port);
  expect(readFileSync(file, 'utf8')).toBe(`${other}\n`);
});

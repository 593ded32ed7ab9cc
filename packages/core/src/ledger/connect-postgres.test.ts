/** A PostgreSQL that stops at the worst moment, played by a socket. */

import type { AddressInfo } from 'node:net';
import { createServer, type Socket } from 'node:net';
import { pino } from 'pino';
import { expect, onTestFinished, test } from 'vitest';
import { unavailableDependency } from '../runtime/errors.ts';
import { connectPostgres, inTransaction } from './connect-postgres.ts';

/** A message of PostgreSQL's protocol. */
function message(type: string, body: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeInt32BE(body.length + 4);
  return Buffer.concat([Buffer.from(type), length, body]);
}

const authenticated = message('R', Buffer.alloc(4));
const ready = message('Z', Buffer.from('I'));
const stopped = message('E', Buffer.from('SFATAL\0C57P01\0Mterminating connection\0\0'));

test('a server that stops as it accepts a connection is unavailable, and ends no process', async () => {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    // In one packet: the error arrives before the caller has the connection.
    socket.once('data', () => socket.end(Buffer.concat([authenticated, ready, stopped])));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const pool = connectPostgres({
    url: `postgres://test@127.0.0.1:${(server.address() as AddressInfo).port}/test`,
    size: 2,
    timeoutMs: 1_000,
    name: 'test',
    log: pino({ level: 'silent' }),
  });
  onTestFinished(async () => {
    await pool.end();
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const error = await inTransaction(pool, null, (client) => client.query('SELECT 1')).catch((reason) => reason);
  expect(unavailableDependency(error)).toBe('postgres');
  expect(pool.totalCount).toBe(0);
});

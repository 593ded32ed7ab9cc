/**
 * Whatever state a connection is in, an order takes a unit only if its answer can be sent: as many
 * units are taken as buyers are told `accepted`.
 */
import { once } from 'node:events';
import { PIPELINED_MAX } from '@flash-sale/api/plugins/connection-bounds.ts';
import { expect, test } from 'vitest';
import { type TestApi, useApi, useWorld, withApi } from '../support/fixtures.ts';
import { openRaw, type RawConnection, request } from '../support/raw-connection.ts';
import { makeSale } from '../support/sales.ts';
import { eventually } from '../support/world.ts';

const UNITS = 1_000;
const world = useWorld();
const api = useApi(world);

/** An order of the case's sale. */
type Order = (headers?: readonly string[], body?: string) => string;

const portOf = ({ url }: TestApi): number => Number(new URL(url).port);
const accepted = ({ received }: RawConnection): number => received.split('"status":"accepted"').length - 1;
const closed = (connection: RawConnection): Promise<void> =>
  eventually('the connection is closed', 5_000, () => connection.isClosed);

/** @returns how many orders were accepted and how many units were taken, once all is decided */
async function countTaken(
  to: TestApi,
  talk: (order: Order, to: TestApi) => Promise<RawConnection>,
): Promise<{ accepted: number; taken: number }> {
  const { id } = await makeSale(world, { units: UNITS });
  const order: Order = (headers = [], body = '') =>
    request(`POST /api/flash-sales/${id}/order`, ['X-User-ID: ann', ...headers], body);
  const connection = await talk(order, to);
  await closed(connection);
  // Decided after every order that was read before.
  const marker = to === api ? (await api.order(id)).status : 0;
  if (to !== api) await to.close();
  const left = (await api.available(id)) ?? 0;
  return { accepted: accepted(connection), taken: UNITS - left - (marker === 200 ? 1 : 0) };
}

const JSON_TYPE = 'Content-Type: application/json';
const CHUNKED = 'Transfer-Encoding: chunked';

/** What one write sends in front of or behind orders, and how many of them are accepted. */
const writes: Record<string, [accepted: number, text: (order: Order) => string]> = {
  orders: [3, (order) => order().repeat(3)],
  'a part of a body behind an order': [1, (order) => order() + order([JSON_TYPE, 'Content-Length: 14'], '{"qu')],
  'one order more than may be pipelined': [PIPELINED_MAX, (order) => order().repeat(PIPELINED_MAX + 1)],
  'many more orders than may be pipelined': [PIPELINED_MAX, (order) => order().repeat(PIPELINED_MAX * 10)],
  'an order behind the last request': [1, (order) => order(['Connection: close']) + order()],
  'a line break behind the last request': [1, (order) => `${order(['Connection: close'])}\r\n`],
  'an order behind one of HTTP/1.0': [1, (order) => order().replace('HTTP/1.1', 'HTTP/1.0') + order()],
  'bytes that cannot be parsed behind orders': [2, (order) => `${order().repeat(2)}zz\r\n\r\n`],
  'a broken body behind an order': [1, (order) => `${order() + order([JSON_TYPE, CHUNKED])}zz\r\n`],
  'headers that are too long behind an order': [1, (order) => order() + order([`X-A: ${'x'.repeat(20_000)}`])],
  'CONNECT behind an order': [1, (order) => `${order()}CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n${order()}`],
  'HTTP/2 behind an order': [1, (order) => `${order()}PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n`],
  'an upgrade behind an order, and one behind it': [
    2,
    (order) => order() + order(['Connection: Upgrade', 'Upgrade: h2c']) + order(),
  ],
  'no host between orders': [1, (order) => order() + order().replace('Host: a\r\n', '') + order()],
  'an unknown expectation between orders': [1, (order) => order() + order(['Expect: lunch']) + order()],
  'an order behind one that may not continue': [
    0,
    (order) => order(['X-User-ID: bob', 'Expect: 100-continue']) + order(),
  ],
  'an order behind one that does not wait to continue': [
    2,
    (order) => order([JSON_TYPE, 'Expect: 100-continue', 'Content-Length: 2'], '{}') + order(),
  ],
  'an order behind broken JSON': [
    1,
    (order) => order([JSON_TYPE, 'Content-Length: 1'], '{') + order(['Connection: close']),
  ],
  'an order behind another content type': [
    0,
    (order) => order(['Content-Type: text/csv', 'Content-Length: 3'], 'a,b') + order(),
  ],
  'an order behind a body that is too long': [
    0,
    (order) => order([JSON_TYPE, 'Content-Length: 20000'], 'x'.repeat(20_000)) + order(),
  ],
};

for (const halfCloses of [false, true]) {
  const client = halfCloses ? 'closes its half' : 'stays';
  test.each(Object.entries(writes))(
    `units are taken with an answer: %s; the client ${client}`,
    async (_what, write) => {
      const [expected, text] = write;
      const counted = await countTaken(api, async (order) => {
        const connection = openRaw(portOf(api), text(order));
        if (halfCloses) connection.socket.end();
        const isOver = () => connection.isClosed || (expected > 0 && accepted(connection) >= expected);
        await eventually('what is expected has come', 10_000, isOver);
        if (!halfCloses) connection.socket.destroy();
        return connection;
      });
      expect(counted).toEqual({ accepted: expected, taken: expected });
    },
  );
}

/** Sends the head of an order, begins to close the server, and then sends the rest and `more`. */
async function whileClosing(order: Order, { app, url }: TestApi, more: string): Promise<RawConnection> {
  const arrived = once(app.server, 'request');
  const connection = openRaw(Number(new URL(url).port), order([JSON_TYPE, 'Content-Length: 2']), 'stays open');
  await arrived;
  void app.close();
  if (more === '') connection.socket.write('{}');
  else connection.socket.end(`{}${more}`);
  return connection;
}

/** States of a server and its connection. */
const states: Record<string, [accepted: number, talk: (order: Order, to: TestApi) => Promise<RawConnection>]> = {
  'pipelined orders while the server drains': [
    1,
    async (order, { app, url }) => {
      void app.drain(300);
      return openRaw(Number(new URL(url).port), order().repeat(3));
    },
  ],
  'pipelined orders while the server closes': [2, (order, to) => whileClosing(order, to, order().repeat(3))],
  'an order behind one that has waited to continue': [
    2,
    async (order, to) => {
      const connection = openRaw(portOf(to), order([JSON_TYPE, 'Expect: 100-continue', 'Content-Length: 2']));
      await eventually('the body is wanted', 5_000, () => connection.received.startsWith('HTTP/1.1 100 '));
      connection.socket.write(`{}${order(['Connection: close'])}`);
      return connection;
    },
  ],
  'an order on a connection that the closing server has ended': [
    1,
    async (order, to) => {
      const connection = await whileClosing(order, to, '');
      await once(connection.socket, 'end');
      connection.socket.end(order());
      return connection;
    },
  ],
  'an order on a connection that was idle for too long': [
    1,
    async (order, to) => {
      const connection = openRaw(portOf(to), order(), 'stays open');
      await once(connection.socket, 'end');
      connection.socket.end(order());
      return connection;
    },
  ],
  'a client that resets the connection in the second body': [
    1,
    async (order, to) => {
      const connection = openRaw(portOf(to), order() + order([JSON_TYPE, 'Content-Length: 2'], '{'));
      await eventually('the first is answered', 5_000, () => accepted(connection) === 1);
      connection.socket.resetAndDestroy();
      return connection;
    },
  ],
};

test.each(Object.entries(states))('units are taken with an answer: %s', async (_what, [expected, talk]) => {
  await withApi(world, { KEEP_ALIVE_TIMEOUT_MS: 100 }, async (own) =>
    expect(await countTaken(own, talk)).toEqual({ accepted: expected, taken: expected }),
  );
});

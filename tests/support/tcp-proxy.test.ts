/** Each fault of the TCP proxy works, and connections work again afterwards. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { TcpProxy } from './tcp-proxy.ts';
import { eventually } from './world.ts';

let server: Server;
let served: Socket[];
let way: TcpProxy;
let clients: Socket[];

beforeEach(async () => {
  served = [];
  clients = [];
  server = createServer((socket) => {
    served.push(socket);
    socket.on('error', () => {});
    socket.pipe(socket);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  way = await TcpProxy.listen((server.address() as AddressInfo).port);
});
afterEach(async () => {
  for (const socket of [...clients, ...served]) socket.destroy();
  await way.close();
  server.close();
});

interface Client {
  readonly socket: Socket;
  readonly text: () => string;
  readonly error: () => string | undefined;
}

async function client(): Promise<Client> {
  const socket = connect(way.port, '127.0.0.1');
  clients.push(socket);
  let [text, error]: [string, string | undefined] = ['', undefined];
  socket.on('data', (bytes) => (text += bytes));
  socket.on('error', (fault: NodeJS.ErrnoException) => (error = fault.code));
  await once(socket, 'connect');
  return { socket, text: () => text, error: () => error };
}

const echoes = async (asked: Client, word: string): Promise<void> => {
  asked.socket.write(word);
  await eventually(`"${word}" comes back`, 2_000, () => asked.text().endsWith(word));
};

const aWhile = (ms = 80) => new Promise((resolve) => setTimeout(resolve, ms));

test('forwards in both directions, and closes one side when the other side closes', async () => {
  const one = await client();
  await echoes(one, 'hello');
  one.socket.end();
  await eventually('the server sees the end', 2_000, () => served[0]?.destroyed === true);
  await eventually('no connection is left', 2_000, () => way.connections === 0);
});

test('slow: each chunk arrives later, in order', async () => {
  const one = await client();
  way.delay('up', 60);
  way.delay('down', 60);
  const from = performance.now();
  one.socket.write('a');
  await echoes(one, 'b');
  expect(performance.now() - from).toBeGreaterThan(115);
  expect(one.text()).toBe('ab');
  way.delay('up', 0);
  way.delay('down', 0);
  await echoes(one, 'c');
});

test('black-holed: bytes and closes are held back, even of new connections, and arrive later', async () => {
  const one = await client();
  await echoes(one, 'before');
  way.hold('down');
  const other = await client();
  one.socket.write('kept');
  other.socket.write('too');
  await aWhile();
  expect([one.text(), other.text()]).toEqual(['before', '']);
  way.hold('up');
  one.socket.resetAndDestroy();
  await aWhile();
  expect(served[0]?.destroyed).toBe(false);
  for (const direction of ['up', 'down'] as const) way.release(direction);
  await eventually('what was held arrives', 2_000, () => other.text() === 'too');
  await eventually('the reset arrives', 2_000, () => served[0]?.destroyed === true);
});

test('cut: both sides are reset, and a new connection works', async () => {
  const one = await client();
  await echoes(one, 'before');
  way.cut();
  await eventually('both sides are reset', 2_000, () => one.error() === 'ECONNRESET' && served[0]?.destroyed === true);
  await echoes(await client(), 'again');
});

test('refused: connections are reset until heal', async () => {
  const one = await client();
  way.refuse();
  await eventually('it is reset', 2_000, () => one.error() === 'ECONNRESET');
  const [error] = await once(connect(way.port, '127.0.0.1'), 'error');
  expect(error).toMatchObject({ code: 'ECONNRESET' });
  expect(served).toHaveLength(1);
  way.heal();
  await echoes(await client(), 'again');
});

test('half-open: one side is gone without a FIN or RST to the other', async () => {
  const one = await client();
  await echoes(one, 'before');
  way.orphan('near');
  await eventually('the server knows', 2_000, () => served[0]?.destroyed === true);
  one.socket.write('into the void');
  await aWhile();
  expect([one.text(), one.error(), way.orphans]).toEqual(['before', undefined, 1]);
  const other = await client();
  await echoes(other, 'new ones work');
  way.orphan('far');
  await eventually('the client knows', 2_000, () => other.error() === 'ECONNRESET');
  await aWhile();
  expect(served[1]?.destroyed).toBe(false);
  way.heal();
  await eventually(
    'heal resets what is left',
    2_000,
    () => one.error() === 'ECONNRESET' && served[1]?.destroyed === true,
  );
  expect(way.orphans).toBe(0);
});

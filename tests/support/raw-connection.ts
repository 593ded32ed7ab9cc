/** A TCP connection for what no HTTP client would send. It never closes its own half first. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

export interface RawConnection {
  readonly socket: Socket;
  /** What was received, up to 200 kB. */
  received: string;
  /** The server closed it. */
  isClosed: boolean;
}

/**
 * @param text sent as Latin-1, byte by byte
 *
 * @param atEnd whether the client also closes when the server has closed its half
 */
export function openRaw(port: number, text = '', atEnd: 'closes' | 'stays open' = 'closes'): RawConnection {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  const connection: RawConnection = { socket, received: '', isClosed: false };
  socket.on('data', (data) => {
    if (connection.received.length < 200_000) connection.received += data.toString('latin1');
  });
  socket.on('end', () => {
    if (atEnd === 'stays open') return;
    connection.isClosed = true;
    socket.destroy();
  });
  socket.on('close', () => {
    connection.isClosed = true;
  });
  socket.on('error', () => {});
  if (text !== '') socket.write(text, 'latin1');
  return connection;
}

/** @returns what is received until the server closes, or nothing comes for `quietMs` */
export async function sendRaw(port: number, text: string, quietMs = 1_000): Promise<string> {
  const connection = openRaw(port, text);
  const closed = once(connection.socket, 'close');
  connection.socket.setTimeout(quietMs, () => connection.socket.destroy());
  await closed;
  return connection.received;
}

/** The status of each response, in order. */
export function statusesOf(received: string): number[] {
  return [...received.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map((match) => Number(match[1]));
}

/** A request line with a host, more headers, and a body. */
export function request(line: string, headers: readonly string[] = [], body = ''): string {
  return `${line} HTTP/1.1\r\nHost: a\r\n${headers.map((header) => `${header}\r\n`).join('')}\r\n${body}`;
}

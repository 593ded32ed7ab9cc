/** A connection that says what no HTTP client would, and never closes its half by itself. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

export interface RawConnection {
  readonly socket: Socket;
  /** What was answered, up to 200 kilobytes. */
  said: string;
  /** The other side has cut it. */
  isCut: boolean;
}

/** Bytes are those of Latin-1, as they stand. */
export function openRaw(port: number, text = ''): RawConnection {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  const connection: RawConnection = { socket, said: '', isCut: false };
  socket.on('data', (data) => {
    if (connection.said.length < 200_000) connection.said += data.toString('latin1');
  });
  // The other side has said its last word: nothing is answered any more.
  socket.on('end', () => {
    connection.isCut = true;
    socket.destroy();
  });
  socket.on('close', () => {
    connection.isCut = true;
  });
  socket.on('error', () => {});
  if (text !== '') socket.write(text, 'latin1');
  return connection;
}

/** @returns what is answered until the other side is done, or nothing came for `quietMs` */
export async function sayRaw(port: number, text: string, quietMs = 700): Promise<string> {
  const connection = openRaw(port, text);
  const closed = once(connection.socket, 'close');
  connection.socket.setTimeout(quietMs, () => connection.socket.destroy());
  await closed;
  return connection.said;
}

/** Of each answer, in turn. */
export function statusesOf(said: string): number[] {
  return [...said.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map((match) => Number(match[1]));
}

/** A request line with the headers that HTTP asks for, and an empty line. */
export function request(line: string, headers: readonly string[] = [], body = ''): string {
  return `${line} HTTP/1.1\r\nHost: a\r\n${headers.map((header) => `${header}\r\n`).join('')}\r\n${body}`;
}

/** Crowds of the drill: one that orders at a steady pace, one that reads its orders, and a flood. */
import { connect, type Socket } from 'node:net';

/** Milliseconds between two orders: forty a second, on any machine. */
const PACE_MS = 25;
/** Buyers that wait for their answers at a time; further ones leave. Below OVERLOAD_IN_FLIGHT: a part that is silent must not be told as a flood. */
const WAITING_MAX = 50;
/** Orders that the flood sends on a connection before it has their answers: below PIPELINED_MAX, so that it is not cut. */
const SENT_AHEAD = 16;

export interface SteadyCrowd {
  /** The newest order that was accepted. */
  lastOrder(): string | null;
  pause(): void;
  resume(): void;
  end(): void;
}

const buyer = { 'x-user-id': 'ann' };

export function startCrowd(url: string, saleId: string): SteadyCrowd {
  let paused = false;
  let waiting = 0;
  let last: string | null = null;
  async function order(): Promise<void> {
    waiting += 1;
    try {
      const response = await fetch(`${url}/api/flash-sales/${saleId}/order`, { method: 'POST', headers: buyer });
      const answer = (await response.json()) as { order_id?: string };
      if (response.ok) last = answer.order_id ?? last;
    } catch {
      // The API is away for a moment: the next one asks.
    } finally {
      waiting -= 1;
    }
  }
  const pace = setInterval(() => {
    if (!paused && waiting < WAITING_MAX) void order();
  }, PACE_MS);
  return {
    lastOrder: () => last,
    pause() {
      paused = true;
    },
    resume() {
      paused = false;
    },
    end: () => clearInterval(pace),
  };
}

/** Buyers who read an order again and again. @returns what ends it */
export function startReaders(url: string, orderId: string, readers: number): () => Promise<void> {
  let reading = true;
  const all = Array.from({ length: readers }, async () => {
    while (reading) {
      await fetch(`${url}/api/orders/${orderId}`, { headers: buyer }).then(
        (response) => response.text(),
        () => '',
      );
    }
  });
  return async () => {
    reading = false;
    await Promise.all(all);
  };
}

/**
 * Orders as fast as they are refused, several at a time on each connection, and cheap to send: what is to be short of processor is the API.
 *
 * @returns what ends it
 */
export function startFlood(url: string, saleId: string, connections: number): () => void {
  const target = new URL(url);
  const one = `POST /api/flash-sales/${saleId}/order HTTP/1.1\r\nHost: ${target.host}\r\nX-User-ID: ann\r\nContent-Length: 0\r\n\r\n`;
  const orders = Buffer.from(one.repeat(SENT_AHEAD));
  const open = new Set<Socket>();
  let flooding = true;
  function join(): void {
    if (!flooding) return;
    const socket = connect(Number(target.port), target.hostname);
    open.add(socket);
    let unanswered = SENT_AHEAD;
    let end = '';
    socket.on('connect', () => socket.write(orders));
    socket.on('data', (chunk) => {
      const text = end + chunk.toString('latin1');
      unanswered -= text.split('HTTP/1.1 ').length - 1;
      // A status line may come in two pieces, and must not be counted twice.
      end = text.slice(-8);
      if (unanswered > 0) return;
      unanswered = SENT_AHEAD;
      socket.write(orders);
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      open.delete(socket);
      setTimeout(join, 200);
    });
  }
  for (let i = 0; i < connections; i++) join();
  return () => {
    flooding = false;
    for (const socket of open) socket.destroy();
  };
}

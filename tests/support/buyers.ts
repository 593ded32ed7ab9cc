/** Buyers over real HTTP: single requests, and crowds of which every reply is kept. */
import { Agent } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { exchange } from './exchange.ts';
import { ADMIN_TOKEN } from './running-system.ts';

export interface Reply {
  readonly buyerId: string;
  /** 0: the connection broke, or no reply came in time. */
  readonly status: number;
  /** The problem's code, or the order's status; BROKEN. */
  readonly code: string;
  readonly orderId: string | null;
  /** Seconds, or NaN. */
  readonly retryAfter: number;
  /** performance.now() */
  readonly sentAt: number;
  readonly milliseconds: number;
}

export type Client = ReturnType<typeof openClient>;

/** @param connections that may be open at a time */
export function openClient(url: string, { connections = Number.POSITIVE_INFINITY, timeoutMs = 15_000 } = {}) {
  const agent = new Agent({ keepAlive: true, maxSockets: connections });

  /** @param headers X-User-ID is "ann" unless it is given */
  async function ask(method: string, path: string, text = '', headers: Record<string, string> = {}): Promise<Reply> {
    const sentAt = performance.now();
    const all = { 'x-user-id': 'ann', ...headers };
    const sent = { agent, method, headers: all, body: text === '' ? null : text, timeoutMs };
    const { status, body, headers: received } = await exchange(url + path, sent);
    return {
      buyerId: all['x-user-id'],
      status,
      code: status === 0 ? 'BROKEN' : String(body.code ?? body.status),
      orderId: (body.order_id as string | undefined) ?? null,
      retryAfter: Number(received['retry-after']),
      sentAt,
      milliseconds: performance.now() - sentAt,
    };
  }
  return {
    ask,
    order: (saleId: string, { buyerId = 'ann', quantity }: { buyerId?: string; quantity?: number } = {}) =>
      ask('POST', `/api/flash-sales/${saleId}/order`, quantity === undefined ? '' : JSON.stringify({ quantity }), {
        'x-user-id': buyerId,
      }),
    /** At once; every second one with a body. */
    orders(saleId: string, count: number): Promise<Reply[]> {
      return Promise.all(
        Array.from({ length: count }, (_, i) => this.order(saleId, i % 2 === 0 ? {} : { quantity: 1 })),
      );
    },
    asOperator: (path: string) => ask('GET', path, '', { authorization: `Bearer ${ADMIN_TOKEN}` }),
    /** Opens so many connections: an event loop accepts one new connection per turn. */
    warmUp: (count: number) => Promise.all(Array.from({ length: count }, () => ask('GET', '/health/live'))),
    close: () => agent.destroy(),
  };
}

export const withCode = (replies: readonly Reply[], code: string): Reply[] =>
  replies.filter((reply) => reply.code === code);

/** @returns the number of replies by "status code", for example "400 SOLD_OUT" */
export function tallyOf(replies: readonly Reply[]): Record<string, number> {
  const tally: Record<string, number> = {};
  for (const { status, code } of replies) tally[`${status} ${code}`] = (tally[`${status} ${code}`] ?? 0) + 1;
  return tally;
}

interface CrowdOptions {
  /** Of the API processes; buyers are spread over them. */
  readonly urls: readonly string[];
  readonly saleId: string;
  /** Buyers who order once each. Without: new ones until the sale is sold out. */
  readonly buyers?: number;
  readonly connections?: number;
  readonly ordersPerSecond?: number;
  /** Codes after which the same buyer orders again. */
  readonly retry?: RegExp;
  readonly retryMs?: number;
  readonly onReply?: (count: number) => void;
}

export interface Crowd {
  readonly replies: readonly Reply[];
  /** Ids of orders that a reply of 200 named. */
  readonly accepted: ReadonlySet<string>;
  readonly isOver: () => boolean;
  readonly ended: Promise<void>;
  /** No further buyer starts. Pending replies are awaited. */
  stop(): Promise<void>;
}

/** Codes after which a patient buyer retries. */
export const PASSING = /^(BROKEN|SALE_RECOVERING|SALE_PAUSED|INVENTORY_UNAVAILABLE|SOLD_OUT)$/;
const RETRY_WITHIN_MS = 60_000;

/** Starts buyers, named buyer-0, buyer-1 and so on, one after the other on each connection. */
export function startCrowd(options: CrowdOptions): Crowd {
  const { urls, saleId, buyers = Number.POSITIVE_INFINITY, connections = 50, retry, retryMs = 50 } = options;
  const untilSoldOut = options.buyers === undefined;
  const clients = urls.map((url) => openClient(url, { connections }));
  const replies: Reply[] = [];
  const accepted = new Set<string>();
  let next = 0;
  let soldOut = 0;
  let over = false;
  let stopped = false;
  const isDone = (): boolean => stopped || next >= buyers || (untilSoldOut && soldOut >= connections);

  async function buy(): Promise<void> {
    while (!isDone()) {
      const buyerId = `buyer-${next++}`;
      const client = clients[next % clients.length] as Client;
      const giveUpAt = performance.now() + RETRY_WITHIN_MS;
      for (;;) {
        const reply = await client.order(saleId, { buyerId });
        replies.push(reply);
        if (reply.code === 'SOLD_OUT') soldOut += 1;
        if (reply.code === 'accepted' && reply.orderId) accepted.add(reply.orderId);
        options.onReply?.(replies.length);
        // Without a pause, retries would keep the server from recovering.
        if (reply.status === 0) await pause(retryMs);
        if (stopped || (untilSoldOut && soldOut >= connections)) break;
        if (!retry?.test(reply.code) || performance.now() > giveUpAt) break;
        if (reply.status !== 0) await pause(retryMs);
      }
      if (options.ordersPerSecond) await pause((connections * 1_000) / options.ordersPerSecond);
    }
  }
  const ended = Promise.all(Array.from({ length: connections }, buy)).then(() => {
    over = true;
    for (const client of clients) client.close();
  });
  return {
    replies,
    accepted,
    isOver: () => over,
    ended,
    stop() {
      stopped = true;
      return ended;
    },
  };
}

/** @returns the replies, once every buyer has one */
export async function sendCrowd(options: CrowdOptions & { readonly buyers: number }): Promise<readonly Reply[]> {
  const { replies, ended } = startCrowd(options);
  await ended;
  return replies;
}

/** @returns the longest time in ms without an accepted order, from `from` to the last one */
export function longestSilenceMs(replies: readonly Reply[], from: number): number {
  const acceptedAt = withCode(replies, 'accepted').map(({ sentAt, milliseconds }) => sentAt + milliseconds);
  const times = [from, ...acceptedAt.filter((at) => at > from).toSorted((a, b) => a - b)];
  if (times.length === 1) return Number.NaN;
  return Math.max(...times.slice(1).map((at, i) => at - (times[i] as number)));
}

/** A crowd: many buyers over some connections, each reply kept. Used by tests and by the measured run of a whole drop. */
import { Agent, request } from 'node:http';

interface Reply {
  readonly buyerId: string;
  /** 0 where the connection broke: the buyer knows nothing. */
  readonly status: number;
  readonly code: string;
  readonly orderId: string | null;
  readonly milliseconds: number;
}

export interface CrowdReport {
  readonly replies: readonly Reply[];
  /** Replies by "status code", for example "400 SOLD_OUT". */
  readonly tally: Record<string, number>;
  readonly seconds: number;
}

/**
 * Every buyer orders once, `connections` at a time.
 *
 * @param options.whenReplied called after each reply with the number of replies so far
 * @param options.again true: a buyer whose connection broke orders again, until `giveUpAfterMs` after the start
 */
export async function sendCrowd(options: {
  url: string;
  saleId: string;
  buyers: number;
  connections: number;
  quantity?: number;
  again?: boolean;
  giveUpAfterMs?: number;
  whenReplied?: (count: number) => void;
}): Promise<CrowdReport> {
  const { url, saleId, buyers, connections, again = false, giveUpAfterMs = 60_000 } = options;
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  const target = new URL(`/api/flash-sales/${saleId}/order`, url);
  const replies: Reply[] = [];
  const startedAt = performance.now();
  let next = 0;

  async function buy(): Promise<void> {
    while (next < buyers) {
      const buyerId = `buyer-${next++}`;
      let reply = await order(agent, target, buyerId, options.quantity);
      while (reply.status === 0 && again && performance.now() - startedAt < giveUpAfterMs) {
        replies.push(reply);
        await new Promise((resolve) => setTimeout(resolve, 50));
        reply = await order(agent, target, buyerId, options.quantity);
      }
      replies.push(reply);
      options.whenReplied?.(replies.length);
      // Nobody is there: a crowd that only burns the machine's time would keep the server from coming back.
      if (reply.status === 0) await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
  await Promise.all(Array.from({ length: connections }, buy));
  agent.destroy();

  const tally: Record<string, number> = {};
  for (const { status, code } of replies) {
    const key = `${status} ${code}`;
    tally[key] = (tally[key] ?? 0) + 1;
  }
  return { replies, tally, seconds: (performance.now() - startedAt) / 1_000 };
}

function order(agent: Agent, target: URL, buyerId: string, quantity?: number): Promise<Reply> {
  const startedAt = performance.now();
  const body = quantity === undefined ? '' : JSON.stringify({ quantity });
  return new Promise((resolve) => {
    const done = (status: number, code: string, orderId: string | null): void =>
      resolve({ buyerId, status, code, orderId, milliseconds: performance.now() - startedAt });
    const sent = request(
      target,
      {
        agent,
        method: 'POST',
        timeout: 15_000,
        headers: {
          'x-user-id': buyerId,
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(body),
        },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk) => chunks.push(chunk));
        response.on('error', () => done(0, 'BROKEN', null));
        response.on('end', () => {
          try {
            const reply = JSON.parse(Buffer.concat(chunks).toString()) as {
              code?: string;
              status?: string;
              order_id?: string;
            };
            done(response.statusCode ?? 0, reply.code ?? String(reply.status), reply.order_id ?? null);
          } catch {
            done(response.statusCode ?? 0, 'NO_JSON', null);
          }
        });
      },
    );
    sent.on('timeout', () => sent.destroy());
    sent.on('error', () => done(0, 'BROKEN', null));
    sent.end(body);
  });
}

/** Buyers, one after the other over each connection, until nothing is left; whoever is told 503, or that the sale is paused, tries again. */
import { Agent, request } from 'node:http';

/** Replies that may be on their way at a time. */
export const CROWD_CONNECTIONS = 50;

/**
 * @param urls of the API processes; buyers are spread over them
 * @param retryMs milliseconds until whoever was told 503, or heard nothing, tries again
 */
export function sendUntilSoldOut(urls: readonly string[], saleId: string, ordersPerSecond: number, retryMs = 20) {
  const connections = CROWD_CONNECTIONS;
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  const accepted = new Set<string>();
  const replies: Record<string, number> = {};
  const acceptedAt: number[] = [];
  const toldAt: number[] = [];
  let next = 0;
  let soldOut = 0;

  async function buy(): Promise<void> {
    while (soldOut < connections) {
      const url = urls[next % urls.length];
      const buyer = `buyer-${next++}`;
      for (let tries = 0; tries < 400 && soldOut < connections; tries++) {
        const sentAt = performance.now();
        const { code, orderId } = await post(agent, new URL(`/api/flash-sales/${saleId}/order`, url), buyer);
        replies[code] = (replies[code] ?? 0) + 1;
        if (code === 'SOLD_OUT') soldOut += 1;
        if (orderId && code === 'accepted') {
          accepted.add(orderId);
          acceptedAt.push(sentAt);
          toldAt.push(performance.now());
        }
        if (!/^(BROKEN|SALE_RECOVERING|SALE_PAUSED|INVENTORY_UNAVAILABLE|SOLD_OUT)$/.test(code)) break;
        await pause(retryMs);
      }
      await pause((connections * 1_000) / ordersPerSecond);
    }
  }
  let over = false;
  const ended = Promise.all(Array.from({ length: connections }, buy)).then(() => {
    over = true;
  });
  return {
    /** Order ids that a reply of 200 has named by now. */
    accepted,
    /** By code, by now. */
    replies,
    /** Whether all were told that nothing is left. */
    isOver: () => over,
    async end(lostAt: number) {
      await ended;
      agent.destroy();
      const after = acceptedAt.filter((at) => at > lostAt);
      const firstAfter = after.length === 0 ? Number.NaN : Math.min(...after);
      return { accepted, replies, firstAfter, longestSilenceMs: longestSilence(toldAt, lostAt) };
    },
  };
}

/** @returns ms for which nobody was told that he is accepted, at the longest, from `from` on until the last one was */
function longestSilence(toldAt: readonly number[], from: number): number {
  const times = [from, ...toldAt.filter((at) => at > from).toSorted((a, b) => a - b)];
  if (times.length === 1) return Number.NaN;
  return Math.max(...times.slice(1).map((at, i) => at - (times[i] as number)));
}

function post(agent: Agent, target: URL, buyerId: string): Promise<{ code: string; orderId: string | undefined }> {
  return new Promise((resolve) => {
    const sent = request(
      target,
      { agent, method: 'POST', timeout: 5_000, headers: { 'x-user-id': buyerId } },
      (reply) => {
        const chunks: Buffer[] = [];
        reply.on('data', (chunk) => chunks.push(chunk));
        reply.on('end', () => {
          const body = JSON.parse(Buffer.concat(chunks).toString()) as Record<string, string | undefined>;
          resolve({ code: body.code ?? String(body.status), orderId: body.order_id });
        });
        reply.on('error', () => resolve({ code: 'BROKEN', orderId: undefined }));
      },
    );
    sent.on('timeout', () => sent.destroy());
    sent.on('error', () => resolve({ code: 'BROKEN', orderId: undefined }));
    sent.end();
  });
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

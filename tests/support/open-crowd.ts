/** A crowd that asks when the test says so, over connections that are open before. */
import { Agent, request } from 'node:http';
import type { Sale } from '@flash-sale/core/domain/sale.ts';
import { ADMIN_TOKEN } from './running-system.ts';

export interface Answer {
  readonly status: number;
  /** The problem's code, or the order's status. */
  readonly code: string;
  readonly retryAfter: number;
  readonly milliseconds: number;
}

/** A crowd whose connections are open before it asks: an event loop takes in one new connection a turn. */
export function openCrowd(url: string) {
  const agent = new Agent({ keepAlive: true });
  function ask(method: string, path: string, body = '', headers: Record<string, string> = {}): Promise<Answer> {
    const startedAt = performance.now();
    return new Promise((resolve, reject) => {
      const type = body === '' ? {} : { 'content-type': 'application/json', 'content-length': String(body.length) };
      const sent = request(
        url + path,
        { agent, method, headers: { 'x-user-id': 'ann', ...type, ...headers } },
        (got) => {
          const chunks: Buffer[] = [];
          got.on('data', (chunk) => chunks.push(chunk));
          got.on('end', () => {
            const text = Buffer.concat(chunks).toString();
            const told = got.headers['content-type']?.includes('json') ? JSON.parse(text) : {};
            resolve({
              status: got.statusCode ?? 0,
              code: told.code ?? told.status,
              retryAfter: Number(got.headers['retry-after']),
              milliseconds: performance.now() - startedAt,
            });
          });
        },
      );
      sent.on('error', reject);
      sent.end(body);
    });
  }
  return {
    ask,
    order: (sale: Sale, body = ''): Promise<Answer> => ask('POST', `/api/flash-sales/${sale.id}/order`, body),
    /** Every second one with a body. */
    orders(sale: Sale, count: number): Promise<Answer[]> {
      return Promise.all(Array.from({ length: count }, (_, i) => this.order(sale, i % 2 ? '{"quantity":1}' : '')));
    },
    asOperator: (path: string) => ask('GET', path, '', { authorization: `Bearer ${ADMIN_TOKEN}` }),
    warmUp: (count: number) => Promise.all(Array.from({ length: count }, () => ask('GET', '/health/live'))),
    close: () => agent.destroy(),
  };
}

export const withCode = (answers: readonly Answer[], code: string): Answer[] =>
  answers.filter((one) => one.code === code);

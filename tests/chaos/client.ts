/** Calls the API over HTTP as a buyer or an operator, and hands call and reply to the auditor. */
import { Agent } from 'node:http';
import { exchange } from '../support/exchange.ts';
import type { Call, Question, Reply } from './calls.ts';

export interface Target {
  readonly name: string;
  readonly url: string;
}

interface HttpQuestion {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly headers: Headers;
  readonly body: string | null;
}

/** ms after which a client hangs up: longer than any reply may take. */
const PATIENCE_MS: Partial<Record<Question['kind'], number>> = { order: 8_000, read_order: 10_000, read_sale: 12_000 };
const OPERATORS_PATIENCE_MS = 25_000;

/** How a client leaves its connection. */
export interface Manners {
  readonly hangUpAfterMs?: number;
  /** It sends FIN with its request, and waits for the reply. */
  readonly halfCloses?: boolean;
}

interface Listener {
  begun(call: Call): void;
  ended(call: Call, reply: Reply): void;
}

export class Client {
  readonly #agent = new Agent({ keepAlive: true });
  readonly #listener: Listener;
  readonly #adminToken: string;
  #n = 0;

  constructor(adminToken: string, listener: Listener) {
    this.#adminToken = adminToken;
    this.#listener = listener;
  }

  /** Calls so far. */
  get calls(): number {
    return this.#n;
  }

  /** @param manners.hangUpAfterMs the client hangs up after this, answered or not */
  async ask(target: Target, asked: Question, manners: Manners = {}): Promise<Reply> {
    const { hangUpAfterMs, halfCloses = false } = manners;
    const call: Call = { n: ++this.#n, api: target.name, asked, sentAt: performance.now() };
    const { path, headers, ...sent } = this.#asHttp(asked);
    this.#listener.begun(call);
    const {
      how,
      status,
      body,
      headers: received,
    } = await exchange(target.url + path, {
      ...sent,
      agent: this.#agent,
      headers: { ...headers, 'x-request-id': `call-${call.n}` },
      halfCloses,
      timeoutMs: hangUpAfterMs ?? PATIENCE_MS[asked.kind] ?? OPERATORS_PATIENCE_MS,
    });
    const reply: Reply = {
      how: how === 'timed_out' && hangUpAfterMs !== undefined ? 'hung_up' : how,
      endedAt: performance.now(),
      status,
      body,
      contentType: received['content-type'] ?? '',
      retryAfter: received['retry-after'] ?? null,
      replayed: received['idempotency-replayed'] === 'true',
    };
    this.#listener.ended(call, reply);
    return reply;
  }

  close(): void {
    this.#agent.destroy();
  }

  #asHttp(asked: Question): HttpQuestion {
    if (asked.kind === 'read_order') return get(`/api/orders/${asked.orderId}`, { 'x-user-id': asked.buyerId });
    const page = `/api/flash-sales/${asked.saleId}`;
    const admin = `/api/admin/sales/${asked.saleId}`;
    const headers = { authorization: `Bearer ${this.#adminToken}` };
    switch (asked.kind) {
      case 'order': {
        const key: Record<string, string> = asked.key === null ? {} : { 'idempotency-key': asked.key };
        const body = asked.quantity === 1 ? null : { quantity: asked.quantity };
        return post(`${page}/order`, { 'x-user-id': asked.buyerId, ...key }, body);
      }
      case 'read_sale':
        return get(page);
      case 'read_numbers':
        return get(admin, headers);
      case 'pause':
      case 'resume':
        return post(`${admin}/${asked.kind}`, headers);
      case 'move_window':
        return post(`${admin}/window`, headers, { ...windowOf(asked), allow: ['window_over'] });
      case 'change_stock':
        return post(`${admin}/stock`, headers, { delta: asked.delta, change_id: asked.changeId, reason: 'chaos' });
      case 'make_sale': {
        const price = (asked.priceCents / 100).toFixed(2);
        return post('/api/admin/sales', headers, {
          product_id: asked.saleId,
          name: asked.saleId,
          original_price: price,
          flash_sale_price: price,
          currency: 'USD',
          units: asked.units,
          per_buyer_limit: asked.cap,
          ...windowOf(asked),
        });
      }
    }
  }
}

type Headers = Readonly<Record<string, string>>;
const get = (path: string, headers: Headers = {}): HttpQuestion => ({ method: 'GET', path, headers, body: null });
const post = (path: string, headers: Headers, body: object | null = null): HttpQuestion => {
  return { method: 'POST', path, headers, body: body && JSON.stringify(body) };
};
const windowOf = ({ startsAt, endsAt }: { startsAt: number; endsAt: number }) => {
  return { starts_at: instant(startsAt), ends_at: instant(endsAt) };
};

/** A time of this process's clock in ISO 8601. */
function instant(time: number): string {
  return new Date(Date.now() + (time - performance.now())).toISOString();
}

/** The two sales that a first start shows. They are made by the operator API, as any sale is, and never reset by a start. */

const OPEN_FOR_MS = 24 * 3_600_000;
const ANSWER_WITHIN_MS = 15_000;

export interface DemoSale {
  readonly product_id: string;
  readonly name: string;
  readonly description: string;
  readonly original_price: string;
  readonly flash_sale_price: string;
  readonly currency: string;
  readonly units: number;
  readonly per_buyer_limit?: number;
}

export const DEMO_SALES: readonly DemoSale[] = [
  {
    product_id: 'product1',
    name: 'Limited Edition Gadget',
    description: 'Ten units, as many a buyer as there are.',
    original_price: '199.99',
    flash_sale_price: '99.99',
    currency: 'USD',
    units: 10,
  },
  {
    product_id: 'product2',
    name: 'Everyday Headphones',
    description: 'A thousand units, one a buyer.',
    original_price: '79.00',
    flash_sale_price: '39.50',
    currency: 'USD',
    units: 1_000,
    per_buyer_limit: 1,
  },
];

/** The operator API of a running system. */
export interface Operator {
  /** http://127.0.0.1:5001, or the door of ADMIN_PORT */
  readonly adminUrl: string;
  readonly adminToken: string;
}

export interface FoundDemoSale {
  readonly id: string;
  /** Now, not by an earlier start. */
  readonly made: boolean;
  /** scheduled, active, paused, ended, or unknown while its stock is being brought up. */
  readonly state: string;
  /** Units. */
  readonly available: number;
}

/** Makes those that do not exist. @returns how each stands */
export async function makeDemoSales(operator: Operator): Promise<FoundDemoSale[]> {
  const results: FoundDemoSale[] = [];
  for (const sale of DEMO_SALES) {
    const reply = await call(operator, 'POST', '/api/admin/sales', { ...sale, ...dayFromNow() });
    if (reply.status !== 201 && reply.status !== 409) throw unexpected(`make the sale ${sale.product_id}`, reply);
    const { body } = await call(operator, 'GET', `/api/admin/sales/${sale.product_id}`);
    results.push({
      id: sale.product_id,
      made: reply.status === 201,
      state: String(body.state ?? 'unknown'),
      available: Number(body.available ?? 0),
    });
  }
  return results;
}

/** "product1 made", "product1 kept (sold out)" */
export function describeDemoSale({ id, made, state, available }: FoundDemoSale): string {
  if (made) return `${id} made`;
  if (state !== 'active') return `${id} kept (${state})`;
  return `${id} kept (${available === 0 ? 'sold out' : `${available} left`})`;
}

/**
 * Opens both for a day from now, with as many units available as at first (more, where an operator gave more).
 *
 * @returns a line for each sale
 */
export async function reopenDemoSales(operator: Operator): Promise<string[]> {
  const lines: string[] = [];
  for (const sale of DEMO_SALES) {
    const path = `/api/admin/sales/${sale.product_id}`;
    const found = await call(operator, 'GET', path);
    if (found.status === 404) {
      const made = await call(operator, 'POST', '/api/admin/sales', { ...sale, ...dayFromNow() });
      if (made.status !== 201) throw unexpected(`make the sale ${sale.product_id}`, made);
      lines.push(`${sale.product_id}: made, ${sale.units} units, open for a day`);
      continue;
    }
    const available = found.body.available;
    if (found.status !== 200 || typeof available !== 'number') throw unexpected(`read ${sale.product_id}`, found);
    const window = await call(operator, 'POST', `${path}/window`, dayFromNow());
    if (!isGood(window.status)) throw unexpected(`open ${sale.product_id}`, window);
    const delta = sale.units - available;
    if (delta > 0) {
      const stock = await call(operator, 'POST', `${path}/stock`, { delta, reason: 'demo reopened' });
      if (!isGood(stock.status)) throw unexpected(`give units to ${sale.product_id}`, stock);
    }
    const given = delta > 0 ? `${delta} unit${delta === 1 ? '' : 's'} added` : 'no units added';
    const cap = sale.per_buyer_limit ? '; buyers keep what they hold, so order as another X-User-ID' : '';
    lines.push(`${sale.product_id}: open for a day, ${given}, ${Math.max(available, sale.units)} available${cap}`);
  }
  return lines;
}

interface Reply {
  readonly status: number;
  readonly body: Record<string, unknown>;
}

async function call({ adminUrl, adminToken }: Operator, method: string, path: string, body?: object): Promise<Reply> {
  const authorization = `Bearer ${adminToken}`;
  const signal = AbortSignal.timeout(ANSWER_WITHIN_MS);
  const init: RequestInit =
    body === undefined
      ? { method, signal, headers: { authorization } }
      : { method, signal, headers: { authorization, 'content-type': 'application/json' }, body: JSON.stringify(body) };
  let response: Response;
  try {
    response = await fetch(`${adminUrl}${path}`, init);
  } catch (error) {
    const { cause, message } = error as Error & { cause?: { code?: string } };
    throw new Error(`The API does not answer at ${adminUrl} (${cause?.code ?? message}). Is "npm start" running?`);
  }
  const parsed: unknown = await response.json().catch(() => ({}));
  return { status: response.status, body: (parsed ?? {}) as Record<string, unknown> };
}

function dayFromNow(): { starts_at: string; ends_at: string } {
  const now = Date.now();
  return { starts_at: new Date(now).toISOString(), ends_at: new Date(now + OPEN_FOR_MS).toISOString() };
}

const isGood = (status: number) => status >= 200 && status < 300;

function unexpected(what: string, { status, body }: Reply): Error {
  if (status === 401 || status === 403) {
    return new Error(`Could not ${what}: the running system has another ADMIN_TOKEN than this command (${status}).`);
  }
  return new Error(
    `Could not ${what}: the API answered ${status} ${body.code ?? ''} ${body.detail ?? body.title ?? ''}`,
  );
}

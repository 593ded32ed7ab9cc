/**
 * The two demo sales: the first start creates them through the operators' API; later starts do not
 * reset them.
 */

const OPEN_FOR_MS = 24 * 3_600_000;
const ANSWER_WITHIN_MS = 15_000;

const DEMO_SALES = [
  {
    product_id: 'product1',
    name: 'Limited Edition Gadget',
    description: 'Ten units; a buyer may order all of them.',
    original_price: '199.99',
    flash_sale_price: '99.99',
    currency: 'USD',
    units: 10,
  },
  {
    product_id: 'product2',
    name: 'Everyday Headphones',
    description: 'A thousand units, one per buyer.',
    original_price: '79.00',
    flash_sale_price: '39.50',
    currency: 'USD',
    units: 1_000,
    per_buyer_limit: 1,
  },
];

/** The operator API of a running system. */
export interface Operator {
  /** http://127.0.0.1:5001; differs from the buyers' address if ADMIN_PORT is set */
  readonly adminUrl: string;
  readonly adminToken: string;
}

export interface FoundDemoSale {
  readonly id: string;
  /** Whether this call created it. */
  readonly made: boolean;
  /** scheduled, active, paused, ended, or unknown while its inventory is rebuilt. */
  readonly state: string;
  /** Units. */
  readonly available: number;
}

/** Creates those that do not exist. @returns the current state of each */
export async function makeDemoSales(operator: Operator): Promise<FoundDemoSale[]> {
  const found: FoundDemoSale[] = [];
  for (const sale of DEMO_SALES) {
    const { product_id: id } = sale;
    const { status } = await call(operator, 'POST', '', { ...sale, ...dayFromNow() }, [201, 409]);
    const { body } = await call(operator, 'GET', `/${id}`, undefined, [200, 503]);
    const { state = 'unknown', available = 0 } = body;
    found.push({ id, made: status === 201, state: String(state), available: Number(available) });
  }
  return found;
}

/** "product1 made", "product1 kept (sold out)" */
export function describeDemoSale({ id, made, state, available }: FoundDemoSale): string {
  if (made) return `${id} made`;
  if (state !== 'active') return `${id} kept (${state})`;
  return `${id} kept (${available === 0 ? 'sold out' : `${available} left`})`;
}

/** While its inventory is rebuilt, its state is unknown and it counts as open. */
export function isOpen({ state, available }: FoundDemoSale): boolean {
  return state === 'unknown' || (state === 'active' && available > 0);
}

/**
 * Opens both sales for a day and refills them to their initial units.
 *
 * @returns a line for each sale
 */
export async function reopenDemoSales(operator: Operator): Promise<string[]> {
  const lines: string[] = [];
  for (const { id, made, available } of await makeDemoSales(operator)) {
    const { units = 0, per_buyer_limit: cap } = DEMO_SALES.find(({ product_id }) => product_id === id) ?? {};
    const delta = Math.max(units - available, 0);
    if (!made) {
      await call(operator, 'POST', `/${id}/window`, dayFromNow(), [200]);
      const stock = { delta, reason: 'demo reopened' };
      if (delta > 0) await call(operator, 'POST', `/${id}/stock`, stock, [200]);
    }
    const hint = cap && !made ? '; buyers keep what they hold, so order as another X-User-ID' : '';
    lines.push(`${id}: open for a day, ${made ? 'new' : `${delta} more`}, ${available + delta} available${hint}`);
  }
  return lines;
}

/** @param path after /api/admin/sales. @throws Error if the status is not in `expected` */
async function call(
  { adminUrl, adminToken }: Operator,
  method: string,
  path: string,
  body: object | undefined,
  expected: readonly number[],
): Promise<{ status: number; body: Record<string, unknown> }> {
  const authorization = `Bearer ${adminToken}`;
  const json = body && { headers: { authorization, 'content-type': 'application/json' }, body: JSON.stringify(body) };
  const signal = AbortSignal.timeout(ANSWER_WITHIN_MS);
  const url = `${adminUrl}/api/admin/sales${path}`;
  const response = await fetch(url, { method, signal, headers: { authorization }, ...json }).catch((error) => {
    const { cause, message } = error as Error & { cause?: { code?: string } };
    throw new Error(`The API does not answer at ${adminUrl} (${cause?.code ?? message}). Is "npm start" running?`);
  });
  const { status } = response;
  const parsed = ((await response.json().catch(() => null)) ?? {}) as Record<string, unknown>;
  if (expected.includes(status)) return { status, body: parsed };
  if (status === 401 || status === 403)
    throw new Error(`The running system does not accept the ADMIN_TOKEN of this command (${status}).`);
  const { code = '', detail = parsed.title ?? '' } = parsed;
  throw new Error(`${method} ${url} was answered with ${status} ${code} ${detail}`);
}

function dayFromNow(): { starts_at: string; ends_at: string } {
  const now = Date.now();
  return { starts_at: new Date(now).toISOString(), ends_at: new Date(now + OPEN_FOR_MS).toISOString() };
}

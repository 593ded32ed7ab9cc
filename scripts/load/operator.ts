/** The operator API of the system under load. */
import { setTimeout as pause } from 'node:timers/promises';

const ANSWER_WITHIN_MS = 15_000;
const SETTLED_WITHIN_MS = 30_000;
const LOOK_EVERY_MS = 500;
/** Longer than any scenario, short enough that the lists of sales are soon clear of them. */
const OPEN_FOR_MS = 15 * 60_000;

export interface Operator {
  /** http://127.0.0.1:5001 */
  readonly baseUrl: string;
  readonly token: string;
}

/** All in units. */
export interface SaleNumbers {
  readonly allotment: number;
  readonly available: number;
  readonly reserved: number;
  readonly sold: number;
  readonly ledger: { readonly allotment: number; readonly sold: number };
}

/** @returns the id of a new sale that is open now */
export async function makeSale(operator: Operator, scenario: string, units: number): Promise<string> {
  const now = Date.now();
  const id = `load-${scenario}-${now.toString(36)}`;
  await ask(operator, 201, '/api/admin/sales', {
    product_id: id,
    name: `Load: ${scenario}`,
    original_price: '2.00',
    flash_sale_price: '1.00',
    units,
    // A minute ago: this machine's clock may be ahead of the one that decides.
    starts_at: new Date(now - 60_000).toISOString(),
    ends_at: new Date(now + OPEN_FOR_MS).toISOString(),
  });
  return id;
}

export async function readSale(operator: Operator, saleId: string): Promise<SaleNumbers> {
  return (await ask(operator, 200, `/api/admin/sales/${saleId}`)) as SaleNumbers;
}

/**
 * The numbers once every accepted order is in the ledger; after SETTLED_WITHIN_MS as they stand then. Two looks must agree:
 * an order that the crowd's end cut off may still be on its way in.
 */
export async function readSettledSale(operator: Operator, saleId: string, signal: AbortSignal): Promise<SaleNumbers> {
  const deadline = Date.now() + SETTLED_WITHIN_MS;
  let last = await readSale(operator, saleId);
  for (;;) {
    await pause(LOOK_EVERY_MS);
    signal.throwIfAborted();
    const sale = await readSale(operator, saleId);
    const settled = sale.reserved === 0 && sale.sold === sale.ledger.sold && sale.sold === last.sold;
    if (settled || Date.now() >= deadline) return sale;
    last = sale;
  }
}

async function ask({ baseUrl, token }: Operator, expected: number, path: string, body?: object): Promise<unknown> {
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  const signal = AbortSignal.timeout(ANSWER_WITHIN_MS);
  let response: Response;
  try {
    response = await fetch(
      `${baseUrl}${path}`,
      body === undefined ? { headers, signal } : { method: 'POST', headers, signal, body: JSON.stringify(body) },
    );
  } catch (error) {
    const { cause, message } = error as Error & { cause?: { code?: string } };
    throw new Error(`The API does not answer at ${baseUrl} (${cause?.code ?? message}). Is "npm start" running?`);
  }
  const reply = (await response.json().catch(() => ({}))) as { code?: string; detail?: string };
  if (response.status === expected) return reply;
  if (response.status === 401) throw new Error(`The system at ${baseUrl} has another ADMIN_TOKEN than this command.`);
  throw new Error(`${baseUrl}${path} answered ${response.status} ${reply.code ?? ''}: ${reply.detail ?? ''}`);
}

/** The operator API, as the scenarios use it. */
import { sleep } from 'k6';
import http from 'k6/http';

const SETTLED_WITHIN_S = 30;
const LOOK_EVERY_S = 0.5;
const OPEN_FOR_MS = 30 * 60_000;

/** @returns the id of a sale that is open now, and for long enough for any scenario */
export function makeSale(operator, scenario, units) {
  const now = Date.now();
  const id = `load-${scenario}-${now.toString(36)}`;
  const sale = {
    product_id: id,
    name: `Load: ${scenario}`,
    original_price: '2.00',
    flash_sale_price: '1.00',
    units,
    starts_at: new Date(now - 60_000).toISOString(),
    ends_at: new Date(now + OPEN_FOR_MS).toISOString(),
  };
  expectStatus(201, http.post(`${operator.baseUrl}/api/admin/sales`, JSON.stringify(sale), asOperator(operator)));
  return id;
}

/** All numbers of the sale. */
export function readSale(operator, id) {
  return expectStatus(200, http.get(`${operator.baseUrl}/api/admin/sales/${id}`, asOperator(operator))).json();
}

/** The same, once every accepted order is in the ledger; after SETTLED_WITHIN_S as it stands then. */
export function readSettledSale(operator, id) {
  const deadline = Date.now() + SETTLED_WITHIN_S * 1000;
  let sale = readSale(operator, id);
  while ((sale.reserved > 0 || sale.ledger.sold !== sale.sold) && Date.now() < deadline) {
    sleep(LOOK_EVERY_S);
    sale = readSale(operator, id);
  }
  return sale;
}

function asOperator({ token }) {
  return {
    headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
    tags: { name: 'operator' },
  };
}

function expectStatus(status, reply) {
  if (reply.status === status) return reply;
  throw new Error(`${reply.request.method} ${reply.request.url}: ${reply.status} ${reply.error} ${reply.body || ''}`);
}

/** The statements that write orders to the ledger and find them. */
import type { AcceptedOrder, OrderOutcome, RejectionReason } from '../domain/order.ts';
import type { Client } from './connect-postgres.ts';

export interface OutcomeRow {
  id: string;
  status: 'confirmed' | 'rejected';
  reason: RejectionReason | null;
}

/**
 * SQL condition: orders of sale $1, read along the primary key (docs/decisions.md). The constraint
 * orders_id_of_sale keeps every order id within this range. Another sale's orders lie in it only if
 * its id extends this one's ("tea" and "tea-01"); `sale_id` excludes them. The collation is
 * repeated for databases that were restored with another one.
 */
export const ORDERS_OF_SALE = `sale_id = $1 AND id >= ($1::text || '-0') COLLATE "C" AND id < ($1::text || '-1') COLLATE "C"`;

export const SELECT_OUTCOMES = 'SELECT id, status, reason FROM orders WHERE id = ANY($1)';

/** @param onConflict '': all must be new, and nothing is returned. @returns ids of the new ones */
export async function insertConfirmed(
  client: Client,
  saleId: string,
  orders: readonly AcceptedOrder[],
  onConflict: '' | 'ON CONFLICT (id) DO NOTHING RETURNING id' = 'ON CONFLICT (id) DO NOTHING RETURNING id',
): Promise<string[]> {
  const { rows } = await client.query<{ id: string }>(
    `INSERT INTO orders (id, sale_id, buyer_id, quantity, unit_price, amount, currency, status, request_id, created_at,
                         idempotency_key)
     SELECT o.id, s.id, o.buyer_id, o.quantity, s.flash_sale_price, o.quantity * s.flash_sale_price, s.currency,
            'confirmed', o.request_id, to_timestamp(o.reserved_at / 1000.0), o.idempotency_key
       FROM unnest($2::text[], $3::text[], $4::int[], $5::text[], $6::float8[], $7::text[])
              AS o (id, buyer_id, quantity, request_id, reserved_at, idempotency_key)
       JOIN sales s ON s.id = $1
     ${onConflict}`,
    [saleId, ...columns(orders)],
  );
  return rows.map((row) => row.id);
}

export async function insertRejected(
  client: Client,
  saleId: string,
  orders: readonly AcceptedOrder[],
  reason: RejectionReason,
): Promise<string[]> {
  const { rows } = await client.query<{ id: string }>(
    `INSERT INTO orders (id, sale_id, buyer_id, quantity, status, reason, request_id, created_at, idempotency_key)
     SELECT o.id, $1, o.buyer_id, o.quantity, 'rejected', $8, o.request_id, to_timestamp(o.reserved_at / 1000.0),
            o.idempotency_key
       FROM unnest($2::text[], $3::text[], $4::int[], $5::text[], $6::float8[], $7::text[])
              AS o (id, buyer_id, quantity, request_id, reserved_at, idempotency_key)
     ON CONFLICT (id) DO NOTHING
     RETURNING id`,
    [saleId, ...columns(orders), reason],
  );
  return rows.map((row) => row.id);
}

function columns(orders: readonly AcceptedOrder[]): unknown[] {
  return [
    orders.map((order) => order.id),
    orders.map((order) => order.buyerId),
    orders.map((order) => order.quantity),
    orders.map((order) => order.requestId),
    orders.map((order) => order.reservedAt),
    orders.map((order) => order.idempotencyKey),
  ];
}

/** Adds the earlier outcomes of the orders that were not written just now. */
export async function withEarlierOutcomes(
  client: Client,
  orders: readonly AcceptedOrder[],
  fresh: readonly OrderOutcome[],
): Promise<OrderOutcome[]> {
  const written = new Set(fresh.map((outcome) => outcome.id));
  const others = orders.filter((order) => !written.has(order.id)).map((order) => order.id);
  if (others.length === 0) return [...fresh];
  const { rows } = await client.query<OutcomeRow>(SELECT_OUTCOMES, [others]);
  return [...fresh, ...rows.map(earlierOutcome)];
}

export function earlierOutcome(row: OutcomeRow): OrderOutcome {
  return row.status === 'confirmed'
    ? { id: row.id, status: 'confirmed', fresh: false }
    : { id: row.id, status: 'rejected', reason: row.reason ?? 'LEDGER_REFUSED', fresh: false };
}

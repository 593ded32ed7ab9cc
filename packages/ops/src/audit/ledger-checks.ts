/** Checks of the ledger alone: SQL that selects subject and detail of each violation. */
import { ORDERS_OF_SALE } from '@flash-sale/core/ledger/order-rows.ts';
import type { PoolClient } from 'pg';
import type { Violation, ViolationCode } from './audit-report.ts';

/** The sale with what its confirmed orders hold. */
const SALE_AND_UNITS = `sales s, (SELECT coalesce(sum(quantity), 0) AS units FROM orders
                                   WHERE ${ORDERS_OF_SALE} AND status = 'confirmed') o WHERE s.id = $1`;

/** The ledger adds units when a stock change begins, and withdraws them once it is applied. */
const EXPLAINED = `(SELECT (after->>'allotment')::int FROM operator_actions
                     WHERE sale_id = $1 AND action = 'create' ORDER BY id LIMIT 1)
                 + (SELECT coalesce(sum(delta), 0) FROM stock_changes
                     WHERE sale_id = $1 AND (state = 'applied' OR (state = 'pending' AND delta > 0)))`;

const LEGAL = `status IN ('confirmed', 'rejected') AND quantity > 0 AND (status = 'rejected') = (reason IS NOT NULL)`;

const CHECKS: readonly (readonly [code: ViolationCode, sql: string])[] = [
  [
    'LEDGER_SOLD_WRONG',
    `SELECT 'sold', format('The sale counts %s units sold; its confirmed orders hold %s.', sold, units)
       FROM ${SALE_AND_UNITS} AND sold <> units`,
  ],
  [
    'LEDGER_OVERSOLD',
    `SELECT 'sold', format('%s units are sold of an allotment of %s.', greatest(sold, units), allotment)
       FROM ${SALE_AND_UNITS} AND greatest(sold, units) > allotment`,
  ],
  [
    'ALLOTMENT_UNEXPLAINED',
    `SELECT 'ledger', format('The allotment is %s units; the initial one and all stock changes add up to %s.',
                             allotment, coalesce((${EXPLAINED})::text, 'an unknown number'))
       FROM sales WHERE id = $1 AND allotment IS DISTINCT FROM ${EXPLAINED}`,
  ],
  [
    // An epoch is raised and recorded in one transaction.
    'EPOCHS_DIFFER',
    `SELECT 'ledger', format('The sale is in epoch %s, and the last one recorded is %s.', s.epoch, max(e.epoch))
       FROM sales s JOIN inventory_epochs e ON e.sale_id = s.id
      WHERE s.id = $1 GROUP BY s.id HAVING max(e.epoch) <> s.epoch`,
  ],
  [
    'STOCK_CHANGE_STUCK',
    `SELECT id, format('A change of %s units began at %s and is still pending.', delta, created_at)
       FROM stock_changes
      WHERE sale_id = $1 AND state = 'pending' AND created_at < clock_timestamp() - $2::float8 * interval '1 ms'`,
  ],
  [
    'KEY_TWICE',
    `SELECT buyer_id || ' ' || idempotency_key, format('%s confirmed orders of this buyer have this key.', count(*))
       FROM orders WHERE ${ORDERS_OF_SALE} AND status = 'confirmed' AND idempotency_key IS NOT NULL
      GROUP BY buyer_id, idempotency_key HAVING count(*) > 1`,
  ],
  [
    'ORDER_ROW_ILLEGAL',
    `SELECT id, format('The row is in a state that does not exist: %s, %s units, reason %s.',
                       status, quantity, coalesce(reason, 'none'))
       FROM orders WHERE ${ORDERS_OF_SALE} AND NOT (${LEGAL})`,
  ],
  [
    'AMOUNT_WRONG',
    `SELECT id, format('The order is confirmed for %s × %s, and its amount is %s %s.', quantity,
                       coalesce(trim_scale(unit_price)::text, 'no price'),
                       coalesce(trim_scale(amount)::text, 'missing'), coalesce(currency, 'without a currency'))
       FROM orders WHERE ${ORDERS_OF_SALE} AND ${LEGAL} AND status = 'confirmed'
        AND (currency IS NULL OR unit_price IS NULL OR amount IS DISTINCT FROM quantity * unit_price)`,
  ],
];

/** Rows of one check that are fetched. */
const ROWS_MAX = 10_000;

/** @param client in a read-only snapshot */
export async function checkLedger(
  client: Pick<PoolClient, 'query'>,
  saleId: string,
  settleMs: number,
): Promise<Violation[]> {
  const found: Violation[] = [];
  for (const [code, sql] of CHECKS) {
    const { rows } = await client.query<Omit<Violation, 'code'>>(
      `SELECT subject, detail FROM (${sql}) AS found (subject, detail)
        WHERE $2::float8 >= 0 ORDER BY subject LIMIT ${ROWS_MAX}`,
      [saleId, settleMs],
    );
    found.push(...rows.map((row) => ({ code, ...row })));
  }
  return found;
}

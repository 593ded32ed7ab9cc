/**
 * Orders in the ledger. `confirm` is the step that makes an order true; what it says once, it says for ever.
 */
import { type Client, inTransaction, isRefusedData, type Pool } from '../postgres/connect-postgres.ts';
import type { AcceptedOrder, OrderBatch, OrderVerdict, RejectionReason } from './order.ts';

/** A finished order as its owner reads it. */
export interface LedgerOrder {
  readonly id: string;
  readonly saleId: string;
  readonly buyerId: string;
  readonly quantity: number;
  /** Exact decimal text; null for a rejected order. */
  readonly unitPrice: string | null;
  readonly amount: string | null;
  readonly currency: string | null;
  readonly status: 'confirmed' | 'rejected';
  readonly reason: RejectionReason | null;
  readonly createdAt: Date;
  readonly finishedAt: Date;
}

/** What the ledger said of a batch. */
export interface Confirmation {
  readonly verdicts: OrderVerdict[];
  /** In which the gate is to be told. */
  readonly epoch: number;
}

/**
 * Asks the gate for the units of orders of an earlier epoch that the ledger lacks, in the epoch that was read with that under the lock of
 * the sale's row. The question may come late, when the row is another's: the gate knows which of these orders have ended since.
 *
 * @returns why those that cannot have them are rejected, by order id
 * @throws where the gate is closed, or an order has ended since; then nothing is decided, and the ledger is to be asked again
 */
export type Adopt = (batch: OrderBatch) => Promise<ReadonlyMap<string, RejectionReason>>;

interface VerdictRow {
  id: string;
  status: 'confirmed' | 'rejected';
  reason: RejectionReason | null;
}

const SELECT_VERDICTS = 'SELECT id, status, reason FROM orders WHERE id = ANY($1)';

export type OrderStore = ReturnType<typeof createOrderStore>;

export function createOrderStore(pool: Pool) {
  return {
    /**
     * Writes a batch of one sale's orders in one transaction, and raises the sale's sold count with them. Orders that the
     * ledger has already keep what it said of them. Rows that it refuses are singled out and end as rejected; the others
     * are confirmed. A row that cannot even be written as rejected gets no verdict. Orders that were accepted in an earlier epoch of
     * the gate must be adopted by the present one first.
     *
     * @throws when the ledger cannot be reached or the outcome is unknown; then nothing may be given back
     */
    async confirm(batch: OrderBatch, adopt: Adopt): Promise<Confirmation> {
      const unique = { ...batch, orders: [...new Map(batch.orders.map((order) => [order.id, order])).values()] };
      try {
        return await inTransaction(pool, 'confirm-orders', (client) => confirmWhole(client, unique, adopt));
      } catch (error) {
        if (!(error instanceof NotAsAWhole) && !isRefusedData(error)) throw error;
      }
      return inTransaction(pool, 'confirm-orders', (client) => confirmOneByOne(client, unique, adopt));
    },

    /**
     * Ends orders as rejected, unless the ledger has them already: then its word stands. Where it refuses a row, each is written for
     * itself; one that cannot even be written as rejected gets no verdict.
     *
     * @throws when the ledger cannot be reached or the outcome is unknown; then nothing may be given back
     */
    async reject(saleId: string, orders: readonly AcceptedOrder[], reason: RejectionReason): Promise<OrderVerdict[]> {
      const rejectWith = (write: (client: Client) => Promise<string[]>): Promise<OrderVerdict[]> =>
        inTransaction(pool, 'reject-orders', async (client) => {
          const fresh = new Map<string, OrderVerdict>();
          for (const id of await write(client)) fresh.set(id, { id, status: 'rejected', reason, fresh: true });
          return withEarlierVerdicts(client, orders, fresh);
        });
      try {
        return await rejectWith((client) => insertRejected(client, saleId, orders, reason));
      } catch (error) {
        if (!isRefusedData(error)) throw error;
      }
      return rejectWith(async (client) => {
        const ids: string[] = [];
        for (const order of orders) ids.push(...(await tryToReject(client, saleId, order, reason)));
        return ids;
      });
    },

    /** What the ledger says of those orders that it has. */
    async verdictsOf(orderIds: readonly string[]): Promise<OrderVerdict[]> {
      const { rows } = await pool.query<VerdictRow>(SELECT_VERDICTS, [orderIds]);
      return rows.map(earlierVerdict);
    },

    /** The confirmed order of this buyer under this key. */
    async findByKey(
      saleId: string,
      buyerId: string,
      idempotencyKey: string,
    ): Promise<{ id: string; quantity: number } | null> {
      const { rows } = await pool.query<{ id: string; quantity: number }>(
        `SELECT id, quantity FROM orders
          WHERE sale_id = $1 AND buyer_id = $2 AND idempotency_key = $3 AND status = 'confirmed'`,
        [saleId, buyerId, idempotencyKey],
      );
      return rows[0] ?? null;
    },

    async find(orderId: string): Promise<LedgerOrder | null> {
      const { rows } = await pool.query<LedgerOrder>(
        `SELECT id, sale_id AS "saleId", buyer_id AS "buyerId", quantity, trim_scale(unit_price)::text AS "unitPrice",
                trim_scale(amount)::text AS amount, currency, status, reason,
                created_at AS "createdAt", finished_at AS "finishedAt"
           FROM orders WHERE id = $1`,
        [orderId],
      );
      return rows[0] ?? null;
    },
  };
}

/** The sale is unknown or has no room for the whole batch: its orders must be looked at one by one. */
class NotAsAWhole extends Error {}

async function confirmWhole(client: Client, batch: OrderBatch, adopt: Adopt): Promise<Confirmation> {
  const { saleId, orders } = batch;
  const epoch = await lockSale(client, saleId);
  if (epoch === null) throw new NotAsAWhole();
  if (epoch > batch.epoch && (await adoptMissing(client, batch, epoch, adopt)).size > 0) throw new NotAsAWhole();
  const written = await insertConfirmed(client, saleId, orders);
  // Nearly always: none of them was there before, so that nobody need be asked which.
  const verdicts =
    written === orders.length
      ? orders.map(({ id }): OrderVerdict => ({ id, status: 'confirmed', fresh: true }))
      : await verdictsOfThisTransaction(client, orders);
  const fresh = new Set(verdicts.filter((verdict) => verdict.fresh).map((verdict) => verdict.id));
  const units = orders.reduce((sum, order) => (fresh.has(order.id) ? sum + order.quantity : sum), 0);
  if (units > 0 && !(await raiseSold(client, saleId, units))) throw new NotAsAWhole();
  return { verdicts, epoch };
}

async function confirmOneByOne(client: Client, batch: OrderBatch, adopt: Adopt): Promise<Confirmation> {
  const { saleId, orders } = batch;
  const epoch = await lockSale(client, saleId);
  const refused =
    epoch !== null && epoch > batch.epoch
      ? await adoptMissing(client, batch, epoch, adopt)
      : new Map<string, RejectionReason>();
  const fresh = new Map<string, OrderVerdict>();
  for (const order of orders) {
    const reason =
      refused.get(order.id) ?? (epoch === null ? 'LEDGER_UNKNOWN_SALE' : await tryOne(client, saleId, order));
    if (reason === 'written') fresh.set(order.id, { id: order.id, status: 'confirmed', fresh: true });
    else if (reason !== 'known') {
      for (const id of await tryToReject(client, saleId, order, reason)) {
        fresh.set(id, { id, status: 'rejected', reason, fresh: true });
      }
    }
  }
  return { verdicts: await withEarlierVerdicts(client, orders, fresh), epoch: epoch ?? batch.epoch };
}

/** I11: the gate was made anew since these orders were accepted. Those that the ledger lacks must hold units in it. */
async function adoptMissing(
  client: Client,
  batch: OrderBatch,
  epoch: number,
  adopt: Adopt,
): Promise<ReadonlyMap<string, RejectionReason>> {
  const { rows } = await client.query<VerdictRow>(SELECT_VERDICTS, [batch.orders.map((order) => order.id)]);
  const known = new Set(rows.map((row) => row.id));
  const missing = batch.orders.filter((order) => !known.has(order.id));
  return missing.length === 0 ? new Map() : adopt({ saleId: batch.saleId, epoch, orders: missing });
}

async function tryOne(
  client: Client,
  saleId: string,
  order: AcceptedOrder,
): Promise<RejectionReason | 'written' | 'known'> {
  await client.query('SAVEPOINT one_order');
  let reason: RejectionReason;
  try {
    if ((await insertConfirmed(client, saleId, [order])) === 0) return 'known';
    if (await raiseSold(client, saleId, order.quantity)) return 'written';
    reason = 'LEDGER_SOLD_OUT';
  } catch (error) {
    if (!isRefusedData(error)) throw error;
    reason = isSecondOfItsKey(error) ? 'DUPLICATE_REQUEST' : 'LEDGER_REFUSED';
  }
  await client.query('ROLLBACK TO SAVEPOINT one_order');
  return reason;
}

function isSecondOfItsKey(error: unknown): boolean {
  return (error as { constraint?: string }).constraint === 'orders_once_by_key';
}

/** A row that cannot even be written as rejected stays without a verdict; it must not take the others down with it. */
async function tryToReject(
  client: Client,
  saleId: string,
  order: AcceptedOrder,
  reason: RejectionReason,
): Promise<string[]> {
  await client.query('SAVEPOINT one_rejection');
  try {
    return await insertRejected(client, saleId, [order], reason);
  } catch (error) {
    if (!isRefusedData(error)) throw error;
    await client.query('ROLLBACK TO SAVEPOINT one_rejection');
    return [];
  }
}

/**
 * Batches of one sale queue at its row instead of meeting in a deadlock over the same orders, and the sale's epoch stays what it is until
 * the transaction ends.
 *
 * @returns the epoch, or null where the sale is unknown
 */
async function lockSale(client: Client, saleId: string): Promise<number | null> {
  const { rows } = await client.query<{ epoch: number }>('SELECT epoch FROM sales WHERE id = $1 FOR NO KEY UPDATE', [
    saleId,
  ]);
  return rows[0]?.epoch ?? null;
}

/** @returns how many of them were not there before */
async function insertConfirmed(client: Client, saleId: string, orders: readonly AcceptedOrder[]): Promise<number> {
  const { rowCount } = await client.query(
    `INSERT INTO orders (id, sale_id, buyer_id, quantity, unit_price, amount, currency, status, request_id, created_at,
                         idempotency_key)
     SELECT o.id, s.id, o.buyer_id, o.quantity, s.flash_sale_price, o.quantity * s.flash_sale_price, s.currency,
            'confirmed', o.request_id, to_timestamp(o.reserved_at / 1000.0), o.idempotency_key
       FROM unnest($2::text[], $3::text[], $4::int[], $5::text[], $6::float8[], $7::text[])
              AS o (id, buyer_id, quantity, request_id, reserved_at, idempotency_key)
       JOIN sales s ON s.id = $1
     ON CONFLICT (id) DO NOTHING`,
    [saleId, ...columns(orders)],
  );
  return rowCount ?? 0;
}

/** I2: the guard against oversell. @returns false where the allotment has no room */
async function raiseSold(client: Client, saleId: string, units: number): Promise<boolean> {
  const { rowCount } = await client.query(
    'UPDATE sales SET sold = sold + $2 WHERE id = $1 AND sold + $2 <= allotment',
    [saleId, units],
  );
  return rowCount === 1;
}

async function insertRejected(
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

/** Verdicts of all of them; `fresh` are those whose rows this very transaction has written. */
async function verdictsOfThisTransaction(client: Client, orders: readonly AcceptedOrder[]): Promise<OrderVerdict[]> {
  const { rows } = await client.query<VerdictRow & { fresh: boolean }>(
    `SELECT id, status, reason, xmin = pg_current_xact_id()::xid AS fresh FROM orders WHERE id = ANY($1)`,
    [orders.map((order) => order.id)],
  );
  return rows.map((row) => ({ ...earlierVerdict(row), fresh: row.fresh }));
}

/** Adds what the ledger said earlier of the orders that were not written just now. */
async function withEarlierVerdicts(
  client: Client,
  orders: readonly AcceptedOrder[],
  fresh: ReadonlyMap<string, OrderVerdict>,
): Promise<OrderVerdict[]> {
  const others = orders.filter((order) => !fresh.has(order.id)).map((order) => order.id);
  if (others.length === 0) return [...fresh.values()];
  const { rows } = await client.query<VerdictRow>(SELECT_VERDICTS, [others]);
  return [...fresh.values(), ...rows.map(earlierVerdict)];
}

function earlierVerdict(row: VerdictRow): OrderVerdict {
  return row.status === 'confirmed'
    ? { id: row.id, status: 'confirmed', fresh: false }
    : { id: row.id, status: 'rejected', reason: row.reason ?? 'LEDGER_REFUSED', fresh: false };
}

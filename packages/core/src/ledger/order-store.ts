/** Orders in the ledger. `confirm` decides an order for good. */
import type { AcceptedOrder, OrderBatch, OrderOutcome, RejectionReason } from '../domain/order.ts';
import { type Client, inTransaction, isRefusedData, type Pool } from './connect-postgres.ts';
import {
  earlierOutcome,
  insertConfirmed,
  insertRejected,
  type OutcomeRow,
  SELECT_OUTCOMES,
  withEarlierOutcomes,
} from './order-rows.ts';
import { lockSale, raiseSold } from './sale-rows.ts';

/** A finished order as its owner reads it. Prices are exact decimal text. */
export type LedgerOrder = {
  readonly id: string;
  readonly saleId: string;
  readonly buyerId: string;
  readonly quantity: number;
  readonly createdAt: Date;
  readonly finishedAt: Date;
} & (
  | { readonly status: 'confirmed'; readonly unitPrice: string; readonly amount: string; readonly currency: string }
  | { readonly status: 'rejected'; readonly reason: RejectionReason }
);

/** Idempotency keys are scoped to their buyer. */
interface BuyersKey {
  readonly buyerId: string;
  readonly idempotencyKey: string;
}

/** What the ledger decided for a batch. */
export interface Confirmation {
  readonly outcomes: OrderOutcome[];
  /** Of the inventory that the outcomes apply to. */
  readonly epoch: number;
}

/**
 * Asks the inventory for units for orders of an earlier epoch that the ledger lacks. Epoch and
 * missing orders were read under the lock of the sale's row. The call may arrive after the lock was
 * lost: the inventory knows which of these orders have ended since.
 *
 * @returns the reason for each order that gets no units, by order id
 * @throws if the inventory is closed, or an order has ended since; then nothing is decided, and
 * confirming is to be retried
 */
export type Readmit = (batch: OrderBatch) => Promise<ReadonlyMap<string, RejectionReason>>;

export type OrderStore = ReturnType<typeof createOrderStore>;

export function createOrderStore(pool: Pool) {
  return {
    /**
     * Writes a batch of one sale's orders in one transaction, and adds them to the sale's `sold`.
     * Orders that the ledger has already keep their outcome. Rows that it refuses are singled out
     * and rejected; the others are confirmed. A row that cannot even be written as rejected gets no
     * outcome. Orders of an earlier epoch must be readmitted first.
     *
     * @throws UnknownSaleError if the ledger has no such sale; nothing is decided
     * @throws if the ledger cannot be reached or the outcome is unknown; then no units may be
     * released
     */
    async confirm(batch: OrderBatch, readmit: Readmit): Promise<Confirmation> {
      const unique = { ...batch, orders: [...new Map(batch.orders.map((order) => [order.id, order])).values()] };
      const attempt = (confirmIn: (client: Client) => Promise<Confirmation>): Promise<Confirmation> =>
        inTransaction(pool, 'confirm-orders', confirmIn);
      try {
        return await attempt((client) => confirmNew(client, unique, readmit)).catch((error: unknown) => {
          if (!violates(error, 'orders_pkey')) throw error;
          return attempt((client) => confirmWhole(client, unique, readmit));
        });
      } catch (error) {
        if (!(error instanceof NotAsAWhole) && !isRefusedData(error)) throw error;
      }
      return attempt((client) => confirmOneByOne(client, unique, readmit));
    },

    /**
     * Rejects orders that the ledger does not have yet; the others keep their outcome. If a row is
     * refused, each is written on its own; one that cannot even be written as rejected gets no
     * outcome.
     *
     * @throws if the ledger cannot be reached or the outcome is unknown; then no units may be
     * released
     */
    async reject(saleId: string, orders: readonly AcceptedOrder[], reason: RejectionReason): Promise<OrderOutcome[]> {
      const rejectWith = (write: (client: Client) => Promise<string[]>): Promise<OrderOutcome[]> =>
        inTransaction(pool, 'reject-orders', async (client) => {
          const ids = await write(client);
          const fresh = ids.map((id) => ({ id, status: 'rejected', reason, fresh: true }) as const);
          return withEarlierOutcomes(client, orders, fresh);
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

    /** Outcomes of those orders that the ledger has. */
    async outcomesOf(orderIds: readonly string[]): Promise<OrderOutcome[]> {
      const { rows } = await pool.query<OutcomeRow>(SELECT_OUTCOMES, [orderIds]);
      return rows.map(earlierOutcome);
    },

    /** The confirmed orders under these keys; nothing for a key that has none. */
    async findByKeys(
      saleId: string,
      keys: readonly BuyersKey[],
    ): Promise<(BuyersKey & { id: string; quantity: number })[]> {
      const { rows } = await pool.query<BuyersKey & { id: string; quantity: number }>(
        // One index lookup for each key: without statistics, as in a first sale, a join reads all
        // orders of the sale.
        `SELECT o.id, o.quantity, o.buyer_id AS "buyerId", o.idempotency_key AS "idempotencyKey"
           FROM unnest($2::text[], $3::text[]) AS k (buyer_id, idempotency_key)
          CROSS JOIN LATERAL (
            SELECT id, quantity, buyer_id, idempotency_key FROM orders
             WHERE sale_id = $1 AND buyer_id = k.buyer_id AND idempotency_key = k.idempotency_key AND status = 'confirmed'
             LIMIT 1) AS o`,
        [saleId, keys.map((key) => key.buyerId), keys.map((key) => key.idempotencyKey)],
      );
      return rows;
    },

    async find(orderId: string): Promise<LedgerOrder | null> {
      const { rows } = await pool.query<LedgerOrder>(
        `SELECT id, sale_id AS "saleId", buyer_id AS "buyerId", quantity, unit_price::text AS "unitPrice",
                amount::text AS amount, currency, status, reason,
                created_at AS "createdAt", finished_at AS "finishedAt"
           FROM orders WHERE id = $1`,
        [orderId],
      );
      return rows[0] ?? null;
    },
  };
}

/** Redis accepted orders of a sale that the ledger has not. */
export class UnknownSaleError extends Error {
  override name = 'UnknownSaleError';
}

/** The sale has no room for the whole batch: its orders are decided one by one. */
class NotAsAWhole extends Error {}

/**
 * The usual case: all orders are new. ON CONFLICT would cost a quarter more a row.
 *
 * @throws (orders_pkey) if one is not
 */
async function confirmNew(client: Client, batch: OrderBatch, readmit: Readmit): Promise<Confirmation> {
  const { saleId, orders } = batch;
  const epoch = await lockForAll(client, batch, readmit);
  await insertConfirmed(client, saleId, orders, '');
  await raiseSoldForAll(client, saleId, unitsOf(orders));
  return { outcomes: orders.map(({ id }) => confirmed(id)), epoch };
}

function confirmed(id: string): OrderOutcome {
  return { id, status: 'confirmed', fresh: true };
}

async function confirmWhole(client: Client, batch: OrderBatch, readmit: Readmit): Promise<Confirmation> {
  const { saleId, orders } = batch;
  const epoch = await lockForAll(client, batch, readmit);
  const ids = new Set(await insertConfirmed(client, saleId, orders));
  await raiseSoldForAll(client, saleId, unitsOf(orders.filter((order) => ids.has(order.id))));
  return { outcomes: await withEarlierOutcomes(client, orders, [...ids].map(confirmed)), epoch };
}

/**
 * @returns the epoch
 * @throws NotAsAWhole if one of the orders cannot be readmitted
 */
async function lockForAll(client: Client, batch: OrderBatch, readmit: Readmit): Promise<number> {
  const epoch = await lockEpoch(client, batch.saleId);
  if (epoch > batch.epoch && (await readmitMissing(client, batch, epoch, readmit)).size > 0) throw new NotAsAWhole();
  return epoch;
}

/** @throws UnknownSaleError */
async function lockEpoch(client: Client, saleId: string): Promise<number> {
  const sale = await lockSale(client, saleId);
  if (sale === null) throw new UnknownSaleError(`the ledger does not know the sale ${saleId}`);
  return sale.epoch;
}

/** @throws NotAsAWhole if the allotment has no room for all of them */
async function raiseSoldForAll(client: Client, saleId: string, units: number): Promise<void> {
  if (units > 0 && !(await raiseSold(client, saleId, units))) throw new NotAsAWhole();
}

function unitsOf(orders: readonly AcceptedOrder[]): number {
  return orders.reduce((sum, order) => sum + order.quantity, 0);
}

async function confirmOneByOne(client: Client, batch: OrderBatch, readmit: Readmit): Promise<Confirmation> {
  const { saleId, orders } = batch;
  const epoch = await lockEpoch(client, saleId);
  const refused =
    epoch > batch.epoch ? await readmitMissing(client, batch, epoch, readmit) : new Map<string, RejectionReason>();
  const fresh: OrderOutcome[] = [];
  for (const order of orders) {
    const reason = refused.get(order.id) ?? (await tryOne(client, saleId, order));
    if (reason === 'written') fresh.push(confirmed(order.id));
    else if (reason !== 'known')
      for (const id of await tryToReject(client, saleId, order, reason))
        fresh.push({ id, status: 'rejected', reason, fresh: true });
  }
  return { outcomes: await withEarlierOutcomes(client, orders, fresh), epoch };
}

/**
 * I11: the inventory was rebuilt since these orders were accepted. Those that the ledger lacks need
 * units in the new one.
 */
async function readmitMissing(
  client: Client,
  batch: OrderBatch,
  epoch: number,
  readmit: Readmit,
): Promise<ReadonlyMap<string, RejectionReason>> {
  const { rows } = await client.query<OutcomeRow>(SELECT_OUTCOMES, [batch.orders.map((order) => order.id)]);
  const known = new Set(rows.map((row) => row.id));
  const missing = batch.orders.filter((order) => !known.has(order.id));
  return missing.length === 0 ? new Map() : readmit({ saleId: batch.saleId, epoch, orders: missing });
}

async function tryOne(
  client: Client,
  saleId: string,
  order: AcceptedOrder,
): Promise<RejectionReason | 'written' | 'known'> {
  await client.query('SAVEPOINT one_order');
  let reason: RejectionReason;
  try {
    if ((await insertConfirmed(client, saleId, [order])).length === 0) return 'known';
    if (await raiseSold(client, saleId, order.quantity)) return 'written';
    reason = 'LEDGER_SOLD_OUT';
  } catch (error) {
    if (!isRefusedData(error)) throw error;
    reason = violates(error, 'orders_once_by_key') ? 'DUPLICATE_REQUEST' : 'LEDGER_REFUSED';
  }
  await client.query('ROLLBACK TO SAVEPOINT one_order');
  return reason;
}

function violates(error: unknown, constraint: 'orders_pkey' | 'orders_once_by_key'): boolean {
  return (error as { constraint?: string }).constraint === constraint;
}

/** A row that cannot even be written as rejected gets no outcome; the others do. */
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

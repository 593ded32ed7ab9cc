/**
 * Orders in the ledger. `confirm` is the step that makes an order true; what it says once, it says for ever.
 */

import type { AcceptedOrder, OrderBatch, OrderOutcome, RejectionReason } from '../domain/order.ts';
import { type Client, inTransaction, isRefusedData, type Pool } from './connect-postgres.ts';
import {
  earlierOutcome,
  insertConfirmed,
  insertRejected,
  lockSale,
  type OutcomeRow,
  outcomesOfThisTransaction,
  raiseSold,
  SELECT_OUTCOMES,
  withEarlierOutcomes,
} from './order-rows.ts';

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

/** An idempotency key is its buyer's. */
interface BuyersKey {
  readonly buyerId: string;
  readonly idempotencyKey: string;
}

/** What the ledger said of a batch. */
export interface Confirmation {
  readonly outcomes: OrderOutcome[];
  /** In which the inventory is to be told. */
  readonly epoch: number;
}

/**
 * Asks the inventory for the units of orders of an earlier epoch that the ledger lacks, in the epoch that was read with that under the lock of
 * the sale's row. The question may come late, when the row is another's: the inventory knows which of these orders have ended since.
 *
 * @returns why those that cannot have them are rejected, by order id
 * @throws where the inventory is closed, or an order has ended since; then nothing is decided, and the ledger is to be asked again
 */
export type Readmit = (batch: OrderBatch) => Promise<ReadonlyMap<string, RejectionReason>>;

export type OrderStore = ReturnType<typeof createOrderStore>;

export function createOrderStore(pool: Pool) {
  return {
    /**
     * Writes a batch of one sale's orders in one transaction, and raises the sale's sold count with them. Orders that the
     * ledger has already keep what it said of them. Rows that it refuses are singled out and end as rejected; the others
     * are confirmed. A row that cannot even be written as rejected gets no outcome. Orders that were accepted in an earlier epoch of
     * the inventory must be readmitted by the present one first.
     *
     * @throws when the ledger cannot be reached or the outcome is unknown; then nothing may be given back
     */
    async confirm(batch: OrderBatch, readmit: Readmit): Promise<Confirmation> {
      const unique = { ...batch, orders: [...new Map(batch.orders.map((order) => [order.id, order])).values()] };
      const attempt = (confirmIn: (client: Client) => Promise<Confirmation>): Promise<Confirmation> =>
        inTransaction(pool, 'confirm-orders', confirmIn);
      try {
        return await attempt((client) => confirmNew(client, unique, readmit)).catch((error: unknown) => {
          if (!isKnownOrder(error)) throw error;
          return attempt((client) => confirmWhole(client, unique, readmit));
        });
      } catch (error) {
        if (!(error instanceof NotAsAWhole) && !isRefusedData(error)) throw error;
      }
      return attempt((client) => confirmOneByOne(client, unique, readmit));
    },

    /**
     * Ends orders as rejected, unless the ledger has them already: then its word stands. Where it refuses a row, each is written for
     * itself; one that cannot even be written as rejected gets no outcome.
     *
     * @throws when the ledger cannot be reached or the outcome is unknown; then nothing may be given back
     */
    async reject(saleId: string, orders: readonly AcceptedOrder[], reason: RejectionReason): Promise<OrderOutcome[]> {
      const rejectWith = (write: (client: Client) => Promise<string[]>): Promise<OrderOutcome[]> =>
        inTransaction(pool, 'reject-orders', async (client) => {
          const fresh = new Map<string, OrderOutcome>();
          for (const id of await write(client)) fresh.set(id, { id, status: 'rejected', reason, fresh: true });
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

    /** What the ledger says of those orders that it has. */
    async outcomesOf(orderIds: readonly string[]): Promise<OrderOutcome[]> {
      const { rows } = await pool.query<OutcomeRow>(SELECT_OUTCOMES, [orderIds]);
      return rows.map(earlierOutcome);
    },

    /** The confirmed orders of these buyers under these keys; none for a key that has none. */
    async findByKeys(
      saleId: string,
      keys: readonly BuyersKey[],
    ): Promise<(BuyersKey & { id: string; quantity: number })[]> {
      const { rows } = await pool.query<BuyersKey & { id: string; quantity: number }>(
        // One look into the index for each key: joined, a table without statistics, as in its first sale, is read for all that the sale has.
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

/** Nearly always: none of them was there before. To look for each costs a quarter of a row's time. @throws (isKnownOrder) where one was */
async function confirmNew(client: Client, batch: OrderBatch, readmit: Readmit): Promise<Confirmation> {
  const { saleId, orders } = batch;
  const epoch = await lockForAll(client, batch, readmit);
  await insertConfirmed(client, saleId, orders, '');
  await raiseSoldForAll(client, saleId, unitsOf(orders));
  return { outcomes: orders.map(({ id }) => ({ id, status: 'confirmed', fresh: true })), epoch };
}

async function confirmWhole(client: Client, batch: OrderBatch, readmit: Readmit): Promise<Confirmation> {
  const { saleId, orders } = batch;
  const epoch = await lockForAll(client, batch, readmit);
  await insertConfirmed(client, saleId, orders);
  const outcomes = await outcomesOfThisTransaction(client, orders);
  const fresh = new Set(outcomes.filter((outcome) => outcome.fresh).map((outcome) => outcome.id));
  await raiseSoldForAll(client, saleId, unitsOf(orders.filter((order) => fresh.has(order.id))));
  return { outcomes, epoch };
}

/** @returns the epoch. @throws NotAsAWhole where the sale is unknown, or one of the orders cannot be readmitted */
async function lockForAll(client: Client, batch: OrderBatch, readmit: Readmit): Promise<number> {
  const epoch = await lockSale(client, batch.saleId);
  if (epoch === null) throw new NotAsAWhole();
  if (epoch > batch.epoch && (await readmitMissing(client, batch, epoch, readmit)).size > 0) throw new NotAsAWhole();
  return epoch;
}

/** @throws NotAsAWhole where there is no room for all of them */
async function raiseSoldForAll(client: Client, saleId: string, units: number): Promise<void> {
  if (units > 0 && !(await raiseSold(client, saleId, units))) throw new NotAsAWhole();
}

function unitsOf(orders: readonly AcceptedOrder[]): number {
  return orders.reduce((sum, order) => sum + order.quantity, 0);
}

async function confirmOneByOne(client: Client, batch: OrderBatch, readmit: Readmit): Promise<Confirmation> {
  const { saleId, orders } = batch;
  const epoch = await lockSale(client, saleId);
  const refused =
    epoch !== null && epoch > batch.epoch
      ? await readmitMissing(client, batch, epoch, readmit)
      : new Map<string, RejectionReason>();
  const fresh = new Map<string, OrderOutcome>();
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
  return { outcomes: await withEarlierOutcomes(client, orders, fresh), epoch: epoch ?? batch.epoch };
}

/** I11: the inventory was rebuilt since these orders were accepted. Those that the ledger lacks must hold units in it. */
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

function isKnownOrder(error: unknown): boolean {
  return (error as { constraint?: string }).constraint === 'orders_pkey';
}

/** A row that cannot even be written as rejected stays without a outcome; it must not take the others down with it. */
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

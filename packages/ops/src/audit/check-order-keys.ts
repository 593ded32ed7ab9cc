/**
 * Checks idempotency keys in both directions: each key in Redis leads to an order of its buyer and
 * quantity, and each confirmed order is found by its key. Keys are read first, then reservations,
 * then the ledger: a key and its reservation are written together, and the reservation ends after
 * the ledger has the order.
 */
import { decodeOrderKey, decodeReservation, orderKeyValue } from '@flash-sale/core/inventory/reservation.ts';
import type { Violation } from './audit-report.ts';
import { violation } from './checks.ts';
import { pagesIfHash } from './read-inventory.ts';
import { eachKeyedOrder, readOrders } from './read-ledger.ts';
import type { SaleStores } from './read-snapshot.ts';

export async function checkOrderKeys(stores: SaleStores): Promise<Violation[]> {
  return [...(await checkKeys(stores)), ...(await checkKeyedOrders(stores))];
}

async function checkKeys({ redis, pool, saleKeys }: SaleStores): Promise<Violation[]> {
  const found: Violation[] = [];
  for await (const fields of pagesIfHash(redis, saleKeys.orderKeys)) {
    const keys = fields.map(([field, value]) => ({ field, value, key: decodeOrderKey(field, value) }));
    const ids = keys.flatMap(({ key }) => (key ? [key.id] : []));
    const reserved = await readReservations({ redis, saleKeys }, ids);
    const rows = await readOrders(pool, ids);
    for (const { field, value, key } of keys) {
      if (!key) {
        found.push(violation('ORDER_KEY_WRONG', field, `The key leads to ${JSON.stringify(value)}: not an order.`));
        continue;
      }
      const record = reserved.get(key.id);
      const order = (record && decodeReservation(key.id, record)) ?? rows.get(key.id);
      if (!order && !record) {
        const detail = `A key of ${key.buyerId} leads to this order, and neither Redis nor the ledger has it.`;
        found.push(violation('ORDER_LOST', key.id, detail));
      } else if (order && (order.buyerId !== key.buyerId || order.quantity !== key.quantity)) {
        const detail = `The key leads to ${key.id}, which is of ${order.quantity} for ${order.buyerId}.`;
        found.push(violation('ORDER_KEY_WRONG', field, detail));
      }
    }
  }
  return found;
}

async function checkKeyedOrders({ redis, pool, saleKeys, saleId }: SaleStores): Promise<Violation[]> {
  const found: Violation[] = [];
  await eachKeyedOrder(pool, saleId, async (orders) => {
    const values = await redis.hmget(saleKeys.orderKeys, ...orders.map(({ field }) => field));
    const others = orders.flatMap((order, i) => {
      const value = values[i];
      return value && value !== orderKeyValue(order) ? [idOf(value)] : [];
    });
    // A duplicate is reserved until the worker has led the key back to the first order.
    const reserved = await readReservations({ redis, saleKeys }, others);
    orders.forEach((order, i) => {
      const value = values[i] ?? null;
      if (value === null) {
        const detail = `Order ${order.id} is confirmed under this key, and Redis does not know it: it would accept a second one.`;
        found.push(violation('ORDER_KEY_MISSING', order.field, detail));
      } else if (value !== orderKeyValue(order) && !reserved.has(idOf(value))) {
        const detail = `The key leads to ${idOf(value)}, and ${order.id} is confirmed under it.`;
        found.push(violation('ORDER_KEY_WRONG', order.field, detail));
      }
    });
  });
  return found;
}

/** @returns the records of those that have one */
async function readReservations(
  { redis, saleKeys }: Pick<SaleStores, 'redis' | 'saleKeys'>,
  ids: readonly string[],
): Promise<Map<string, string>> {
  const records = ids.length > 0 ? await redis.hmget(saleKeys.reservations, ...ids) : [];
  return new Map(ids.flatMap((id, i) => (typeof records[i] === 'string' ? [[id, records[i]] as const] : [])));
}

const idOf = (value: string): string => value.split(' ', 1)[0] as string;

/** Sales to test with. */

import { newOrderId, type OrderRequest } from '@flash-sale/core/domain/order.ts';
import type { Sale } from '@flash-sale/core/domain/sale.ts';
import { createInventory, type Inventory } from '@flash-sale/core/inventory/inventory.ts';
import type { ReserveDecision, ReserveOutcome } from '@flash-sale/core/inventory/outcomes.ts';
import { syncSale } from '@flash-sale/core/inventory/sync-sale.ts';
import { createSaleStore, type NewSale } from '@flash-sale/core/ledger/sale-store.ts';
import type { AnyRedis } from '@flash-sale/core/runtime/redis/open-redis.ts';
import { encodeReservation } from './reservation.ts';
import { eventually, type World } from './world.ts';

/** `redis` may be of a cluster, or behind sentinels. */
type SalesWorld = Pick<World, 'pool' | 'keys'> & { readonly redis: AnyRedis };

let count = 0;

/** Ten units for sale now. */
export const newSale = (wanted: Partial<NewSale> = {}): NewSale => ({
  id: `sale${++count}`,
  name: 'A thing',
  description: null,
  originalPrice: '199.99',
  flashSalePrice: '99.99',
  currency: 'USD',
  units: 10,
  startsAt: Date.now() - 60_000,
  endsAt: Date.now() + 3_600_000,
  perBuyerLimit: 0,
  ...wanted,
});

/** Creates a sale in ledger and inventory. */
export async function makeSale(world: SalesWorld, wanted: Partial<NewSale> = {}): Promise<Sale> {
  const inventory = createInventory(world);
  const sales = createSaleStore(world.pool);
  const sale = await sales.create(newSale(wanted), { actor: 'test', requestId: 'test' });
  if (!sale) throw new Error(`there is a sale ${wanted.id}`);
  await syncSale({ inventory, sales }, sale);
  return { ...sale, inventoryVersion: sale.version };
}

/** Reserves one order of a buyer, without limits. @throws if the inventory refuses it */
export async function reserveOne(
  inventory: Inventory,
  saleId: string,
  orderId: string,
  { buyerId = 'buyer', quantity = 1 }: { buyerId?: string; quantity?: number } = {},
): Promise<void> {
  const request = { id: orderId, buyerId, quantity, requestId: 'request', idempotencyKey: null };
  const { decisions } = await inventory.reserve(saleId, [request], -1, { capacity: 0, refillRate: 1 });
  if (decisions[0]?.outcome.kind !== 'reserved') throw new Error(`not reserved: ${decisions[0]?.outcome.kind}`);
}

/** A new order, as the inventory is asked for it. */
export const orderRequest = (saleId: string, buyerId = 'ann', quantity = 1): OrderRequest => ({
  id: newOrderId(saleId),
  buyerId,
  quantity,
  requestId: 'r1',
  idempotencyKey: null,
});

export async function outcomesOf(asked: Promise<{ decisions: readonly ReserveDecision[] }>): Promise<ReserveOutcome[]> {
  return (await asked).decisions.map((decision) => decision.outcome);
}

export const kindsOf = (outcomes: readonly ReserveOutcome[]): string[] => outcomes.map((outcome) => outcome.kind);

/** A reservation of one unit, as lua/reserve.lua writes it. @param reservedAt ms since 1970 */
export const reservationText = (reservedAt: number, buyerId = 'ann'): string =>
  encodeReservation({ quantity: 1, reservedAt, requestId: 'r', idempotencyKey: null, buyerId });

/** Waits until so many units are sold, or more, and none is reserved. */
export const untilSold = (world: SalesWorld, saleId: string, units: number, withinMs = 30_000): Promise<void> =>
  eventually(`${units} units are sold`, withinMs, async () => {
    const { numbers } = await createInventory(world).read(saleId);
    return numbers?.reserved === 0 && numbers.sold >= units;
  });

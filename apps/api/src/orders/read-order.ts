/**
 * Finds what became of an order. The inventory is asked first and the ledger second: a reservation ends only after the ledger
 * has the order, so that in this order of asking none can slip through between. The ledger's word stands above the inventory's: a
 * reservation that was not settled yet (or is there again, after Redis lost its last second) turns nothing back to pending.
 * Both together have the time of one request.
 */

import { saleIdOf } from '@flash-sale/core/domain/order.ts';
import type { Inventory } from '@flash-sale/core/inventory/inventory.ts';
import type { LedgerOrder, OrderStore } from '@flash-sale/core/ledger/order-store.ts';
import { startDeadline } from '@flash-sale/core/runtime/deadline.ts';
import { unavailableDependency } from '@flash-sale/core/runtime/errors.ts';
import type { SaleReader } from '../sales/read-sales.ts';

export interface OrderView {
  readonly order_id: string;
  readonly status: 'pending' | 'confirmed' | 'rejected';
  readonly product_id: string;
  readonly quantity: number;
  readonly created_at: string;
  readonly finished_at?: string;
  readonly unit_price?: number;
  readonly amount?: number;
  readonly currency?: string;
  readonly reason?: string;
  /** For operators only. */
  readonly buyer_id?: string;
}

/** A buyer reads his own orders, an operator everybody's. */
export type OrderReader = { readonly buyerId: string } | 'operator';

/** Of the time of a request: an inventory that is silent leaves enough for a ledger that has the order. */
const SHARE_OF_INVENTORY = 0.5;

export type ReadOrderOutcome = OrderView | 'no_such_order' | 'inventory_unavailable' | 'recovering';

export function createReadOrder(parts: {
  inventory: Pick<Inventory, 'findReservation'>;
  orders: Pick<OrderStore, 'find'>;
  sales: Pick<SaleReader, 'find'>;
  /** Milliseconds that a request may wait, for all parts together. */
  timeoutMs: number;
}) {
  /**
   * Someone else's order is answered like one that does not exist.
   *
   * @throws where the ledger cannot be asked: then "pending" might be a step back
   */
  return async function readOrder(orderId: string, reader: OrderReader): Promise<ReadOrderOutcome> {
    const saleId = saleIdOf(orderId);
    if (saleId === null) return 'no_such_order';
    const { within } = startDeadline(parts.timeoutMs);
    const askInventory = () => parts.inventory.findReservation(saleId, orderId);
    const reservation = await within('redis', askInventory, SHARE_OF_INVENTORY).catch((error: unknown) => {
      if (unavailableDependency(error) !== 'redis') throw error;
      return 'inventory_unavailable' as const;
    });
    const order = await within('postgres', () => parts.orders.find(orderId));
    if (order)
      return mayRead(reader, order.buyerId) ? { ...view(order), ...ofBuyer(reader, order.buyerId) } : 'no_such_order';
    if (reservation === 'inventory_unavailable') return 'inventory_unavailable';
    // Without an inventory there may be a sale that Redis lost, or none at all.
    if (reservation === 'recovering') {
      return (await within('postgres', () => parts.sales.find(saleId))) ? 'recovering' : 'no_such_order';
    }
    if (!reservation || !mayRead(reader, reservation.buyerId)) return 'no_such_order';
    return {
      order_id: orderId,
      status: 'pending',
      product_id: saleId,
      quantity: reservation.quantity,
      created_at: new Date(reservation.reservedAt).toISOString(),
      ...ofBuyer(reader, reservation.buyerId),
    };
  };
}

function mayRead(reader: OrderReader, buyerId: string): boolean {
  return reader === 'operator' || reader.buyerId === buyerId;
}

function ofBuyer(reader: OrderReader, buyerId: string): Pick<OrderView, 'buyer_id'> {
  return reader === 'operator' ? { buyer_id: buyerId } : {};
}

function view(order: LedgerOrder): OrderView {
  return {
    order_id: order.id,
    status: order.status,
    product_id: order.saleId,
    quantity: order.quantity,
    created_at: order.createdAt.toISOString(),
    finished_at: order.finishedAt.toISOString(),
    ...(order.reason === null ? {} : { reason: order.reason }),
    // Exact as a JSON number up to 15 significant digits: every price, and every amount below 100,000,000,000. The ledger has all.
    ...(order.unitPrice === null ? {} : { unit_price: Number(order.unitPrice) }),
    ...(order.amount === null ? {} : { amount: Number(order.amount) }),
    ...(order.currency === null ? {} : { currency: order.currency }),
  };
}

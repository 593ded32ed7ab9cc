/**
 * Reads the status of an order, from the inventory first and then the ledger: a reservation ends
 * only after the ledger has the order, so no order is missed in between. The ledger takes
 * precedence, so a reservation that is not committed yet cannot show a finished order as pending.
 */
import { saleIdOf } from '@flash-sale/core/domain/order.ts';
import type { Inventory } from '@flash-sale/core/inventory/inventory.ts';
import type { LedgerOrder, OrderStore } from '@flash-sale/core/ledger/order-store.ts';
import { startDeadline } from '@flash-sale/core/runtime/deadline.ts';
import { unavailableDependency } from '@flash-sale/core/runtime/errors.ts';
import type { SaleReader } from '../sales/read-sales.ts';
import type { AnyOrderBody, OrderBody } from './order-contract.ts';

type OrderView = OrderBody | AnyOrderBody;

/** Buyers read their own orders, operators all of them. */
export type OrderReader = { readonly buyerId: string } | 'operator';

export type ReadOrderOutcome = OrderView | 'no_such_order' | 'inventory_unavailable' | 'recovering';

/**
 * Share of the request's timeout for the inventory, so that the ledger can answer if Redis does
 * not.
 */
const INVENTORY_SHARE = 0.5;

export function createReadOrder(deps: {
  inventory: Pick<Inventory, 'findReservation'>;
  orders: Pick<OrderStore, 'find'>;
  sales: Pick<SaleReader, 'find'>;
  /** Milliseconds for inventory and ledger together. */
  timeoutMs: number;
}) {
  /**
   * Another buyer's order gets the same answer as one that does not exist.
   *
   * @throws if the ledger is unavailable: a finished order must not be reported as pending
   */
  return async function readOrder(orderId: string, reader: OrderReader): Promise<ReadOrderOutcome> {
    const saleId = saleIdOf(orderId);
    if (saleId === null) return 'no_such_order';
    const { within } = startDeadline(deps.timeoutMs);
    const askInventory = () => deps.inventory.findReservation(saleId, orderId);
    const reservation = await within('redis', askInventory, INVENTORY_SHARE).catch((error: unknown) => {
      if (unavailableDependency(error) !== 'redis') throw error;
      return 'inventory_unavailable' as const;
    });
    const order = await within('postgres', () => deps.orders.find(orderId));
    if (order) return mayRead(reader, order.buyerId) ? viewFinished(order, reader) : 'no_such_order';
    if (reservation === 'inventory_unavailable') return reservation;
    if (reservation === 'recovering') {
      const sale = await within('postgres', () => deps.sales.find(saleId));
      return sale ? 'recovering' : 'no_such_order';
    }
    if (!reservation || !mayRead(reader, reservation.buyerId)) return 'no_such_order';
    return {
      order_id: orderId,
      status: 'pending',
      product_id: saleId,
      quantity: reservation.quantity,
      created_at: new Date(reservation.reservedAt).toISOString(),
      ...buyerFor(reader, reservation.buyerId),
    };
  };
}

function mayRead(reader: OrderReader, buyerId: string): boolean {
  return reader === 'operator' || reader.buyerId === buyerId;
}

function buyerFor(reader: OrderReader, buyerId: string): { buyer_id?: string } {
  return reader === 'operator' ? { buyer_id: buyerId } : {};
}

function viewFinished(order: LedgerOrder, reader: OrderReader): OrderView {
  const fields = {
    order_id: order.id,
    product_id: order.saleId,
    quantity: order.quantity,
    created_at: order.createdAt.toISOString(),
    finished_at: order.finishedAt.toISOString(),
    ...buyerFor(reader, order.buyerId),
  };
  if (order.status === 'rejected') return { ...fields, status: 'rejected', reason: order.reason };
  const { unitPrice, amount, currency } = order;
  const view = { ...fields, status: 'confirmed', currency } as const;
  if (reader === 'operator') return { ...view, buyer_id: order.buyerId, unit_price: unitPrice, amount };
  // A JSON number is exact up to 15 significant digits: every amount below 100,000,000,000.
  return { ...view, unit_price: Number(unitPrice), amount: Number(amount) };
}

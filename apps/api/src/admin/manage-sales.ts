/**
 * What an operator does to a sale. The ledger is changed first and the gate follows; a crash between the two is mended by
 * the worker's repair loop. Only the withdrawal of units asks the gate first, for only the gate knows what is promised.
 */
import { MAX_ALLOTMENT } from '@flash-sale/core/limits.ts';
import { carrySale, carryStockChange } from '@flash-sale/core/sales/carry-to-gate.ts';
import type { Sale, StockNumbers } from '@flash-sale/core/sales/sale.ts';
import type { LedgerSale, NewSale, Operator, SaleStore } from '@flash-sale/core/sales/sale-store.ts';
import type { StockGate } from '@flash-sale/core/stock/stock-gate.ts';
import { ulid } from 'ulid';
import type { SaleReader } from '../sales/read-sales.ts';

/** A sale as ledger and gate have it; `now` is Redis' clock in ms since 1970. */
export interface SaleNumbers {
  readonly sale: LedgerSale;
  readonly numbers: StockNumbers;
  readonly now: number;
}

export type Managed = SaleNumbers | 'no_such_sale' | 'recovering';

export function createManageSales(parts: {
  gate: StockGate;
  sales: SaleStore;
  saleReader: Pick<SaleReader, 'forget'>;
}) {
  const { gate, sales, saleReader } = parts;

  async function read(saleId: string): Promise<Managed> {
    const sale = await sales.find(saleId);
    if (!sale) return 'no_such_sale';
    const { now, numbers } = await gate.read(saleId);
    return numbers ? { sale, numbers, now } : 'recovering';
  }

  async function carry(sale: Sale | null): Promise<Managed> {
    if (!sale) return 'no_such_sale';
    const carried = await carrySale({ gate, sales }, sale);
    await saleReader.forget(sale.id);
    return carried ? read(sale.id) : 'recovering';
  }

  return {
    read,

    async create(sale: NewSale, operator: Operator): Promise<Managed | 'exists'> {
      const made = await sales.create(sale, operator);
      return made ? carry(made) : 'exists';
    },

    async pause(saleId: string, operator: Operator): Promise<Managed> {
      return carry(await sales.setPaused(saleId, true, operator));
    },

    async resume(saleId: string, operator: Operator): Promise<Managed> {
      return carry(await sales.setPaused(saleId, false, operator));
    },

    async changeWindow(saleId: string, startsAt: number, endsAt: number, operator: Operator): Promise<Managed> {
      return carry(await sales.changeWindow(saleId, startsAt, endsAt, operator));
    },

    async changeStock(
      saleId: string,
      delta: number,
      reason: string,
      operator: Operator,
    ): Promise<Managed | 'too_many' | { refused: true; available: number }> {
      const change = await sales.beginStockChange({ id: ulid(), saleId, delta, reason }, MAX_ALLOTMENT, operator);
      if (change === 'too_many') return change;
      if (change === 'gate_closed') return 'recovering';
      if (!change) return 'no_such_sale';
      const decided = await carryStockChange({ gate, sales }, change);
      await saleReader.forget(saleId);
      if (!decided) return 'recovering';
      return decided.word === 'refused' ? { refused: true, available: decided.available } : read(saleId);
    },
  };
}

/**
 * Checks inventories, and rebuilds those that are not sound (rebuild-inventory.ts). A run checks
 * the next slice of the sales. If it finds a newly closed inventory, Redis may have lost them all,
 * so it checks every sale. Sales with reservations are rebuilt first, then those that are open. Now
 * and then it stops those that the ledger does not know (stop-unknown-sales.ts).
 */
import type { Inventory } from '@flash-sale/core/inventory/inventory.ts';
import type { LedgerSale } from '@flash-sale/core/ledger/sale-rows.ts';
import type { SaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import { type ClosedInventories, createClosedInventories } from './closed-inventories.ts';
import { forEach, RECENT_SALE_MS } from './loop.ts';
import { type RebuildDependencies, rebuildInventory } from './rebuild-inventory.ts';
import { createSaleSlices } from './sale-slices.ts';
import { type StopDependencies, stopUnknownSales } from './stop-unknown-sales.ts';

/** Checks that are sent to Redis together: they block it for 2 ms. */
const CHECKS_AT_ONCE = 100;

/** Each takes a connection to PostgreSQL. */
const REBUILDS_AT_ONCE = 3;

/** Milliseconds of rebuilding after which all sales are checked again: Redis may be lost again. */
const REBUILD_RUN_MS = 2_000;

export interface WatchDependencies extends RebuildDependencies, StopDependencies {
  readonly inventory: Pick<Inventory, 'check' | 'withReservations' | 'list'>;
  readonly rebuild: RebuildDependencies['rebuild'];
  readonly orders: RebuildDependencies['orders'];
  readonly sales: Pick<SaleStore, 'list' | 'find' | 'unknownAmong'>;
  readonly sliceMax?: number;
}

export function createInventoryWatch(
  dependencies: WatchDependencies,
  closed: ClosedInventories = createClosedInventories(),
) {
  const { inventory, sales, sliceMax } = dependencies;
  const slices = createSaleSlices(sales, sliceMax);
  /** Not sound when they were checked last, by sale id. */
  const unsound = new Map<string, LedgerSale>();
  let isUnfinished = false;

  /** @returns whether one of them is newly closed */
  async function check(listed: readonly LedgerSale[]): Promise<boolean> {
    let isNew = false;
    async function checkOne(sale: LedgerSale): Promise<void> {
      const { condition } = await inventory.check(sale.id, sale.epoch);
      if (condition === 'sound') unsound.delete(sale.id);
      else {
        if (!unsound.has(sale.id)) isNew = true;
        unsound.set(sale.id, sale);
      }
      closed.note(sale.id, condition !== 'sound');
    }
    // The others have never had an inventory.
    const watched = listed.filter((sale) => sale.inventoryVersion > 0);
    await forEach(watched, checkOne, CHECKS_AT_ONCE);
    return isNew;
  }

  async function checkSome(): Promise<void> {
    const filter = { endedWithinMs: RECENT_SALE_MS };
    if (await check(await slices.next(filter))) await checkAll(filter);
  }

  async function checkAll(filter: { endedWithinMs?: number }): Promise<void> {
    for await (const slice of slices.all(filter)) await check(slice);
  }

  async function rebuildUnsound(): Promise<void> {
    const until = performance.now() + REBUILD_RUN_MS;
    const reserved = new Set(await inventory.withReservations([...unsound.keys()]));
    // biome-ignore lint/plugin/wall-time: compared with the sale's window
    const now = Date.now();
    const isOpen = ({ startsAt, endsAt }: LedgerSale): boolean => startsAt <= now && now < endsAt;
    const rank = (sale: LedgerSale): number =>
      4 * Number(reserved.has(sale.id)) + 2 * Number(isOpen(sale)) + Number(sale.sold > 0);
    const sorted = [...unsound.values()].sort((a, b) => rank(b) - rank(a));
    isUnfinished = false;
    async function rebuildOne({ id }: LedgerSale): Promise<void> {
      isUnfinished ||= performance.now() > until;
      if (isUnfinished || !(await rebuildInventory(dependencies, id, closed.note(id, true)))) return;
      unsound.delete(id);
      closed.note(id, false);
    }
    await forEach(sorted, rebuildOne, REBUILDS_AT_ONCE);
  }

  return {
    /**
     * @param all every sale, also those that ended long ago, and those that the ledger lacks
     * @throws the first error, after all of them were checked
     */
    async runOnce(all = true): Promise<void> {
      const checks = all || isUnfinished ? () => checkAll(all ? {} : { endedWithinMs: RECENT_SALE_MS }) : checkSome;
      const stop = () => stopUnknownSales(dependencies);
      await forEach([checks, rebuildUnsound, ...(all ? [stop] : [])], (step) => step());
    },
  };
}

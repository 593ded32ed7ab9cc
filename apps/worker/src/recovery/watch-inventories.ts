/**
 * Checks inventories, and rebuilds those that are not sound (rebuild-inventory.ts). A run checks
 * the next page of the sales. If it finds a newly closed inventory, Redis may have lost them all,
 * so it checks every sale. Sales with reservations are rebuilt first, then those that are open. Now
 * and then it looks for sales that Redis has and the ledger has not.
 */
import type { Inventory } from '@flash-sale/core/inventory/inventory.ts';
import type { LedgerSale } from '@flash-sale/core/ledger/sale-rows.ts';
import type { SaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import { type ClosedInventories, createClosedInventories } from './closed-inventories.ts';
import { forEach, RECENT_SALE_MS } from './loop.ts';
import { type RebuildDependencies, rebuildInventory } from './rebuild-inventory.ts';
import { createSalePages } from './sale-pages.ts';

/** Checks that are sent to Redis together: they block it for 2 ms. */
const CHECKS_AT_ONCE = 100;

/** Each takes a connection to PostgreSQL. */
const REBUILDS_AT_ONCE = 3;

/** Milliseconds of rebuilding after which all sales are checked again: Redis may be lost again. */
const REBUILD_RUN_MS = 2_000;

export interface WatchDependencies extends RebuildDependencies {
  readonly inventory: Pick<Inventory, 'check' | 'withReservations' | 'list'>;
  readonly sales: Pick<SaleStore, 'list' | 'find' | 'unknownAmong'>;
  readonly pageMax?: number;
}

export function createInventoryWatch(
  dependencies: WatchDependencies,
  closedSince: ClosedInventories = createClosedInventories(),
) {
  const { inventory, sales, proveLedger, pageMax } = dependencies;
  const pages = createSalePages(sales, pageMax);
  /** Not sound when they were checked last, by sale id; null: the ledger has no such sale. */
  const closed = new Map<string, LedgerSale | null>();
  let isUnfinished = false;

  /** @returns whether one of them is newly closed */
  async function check(listed: readonly LedgerSale[]): Promise<boolean> {
    let isNew = false;
    async function checkOne(sale: LedgerSale): Promise<void> {
      const { condition } = await inventory.check(sale.id, sale.epoch);
      if (condition === 'sound') closed.delete(sale.id);
      else {
        if (!closed.has(sale.id)) isNew = true;
        closed.set(sale.id, sale);
      }
      closedSince.note(sale.id, condition !== 'sound');
    }
    // The others have never had an inventory.
    const watched = listed.filter((sale) => sale.inventoryVersion > 0);
    await forEach(watched, checkOne, CHECKS_AT_ONCE);
    return isNew;
  }

  async function checkSome(): Promise<void> {
    const filter = { endedWithinMs: RECENT_SALE_MS };
    if (await check(await pages.next(filter))) await checkAll(filter);
  }

  async function checkAll(filter: { endedWithinMs?: number }): Promise<void> {
    const every = createSalePages(sales, pageMax);
    do await check(await every.next(filter));
    while (!every.isAtStart());
  }

  /** A sale is in the ledger before it has an inventory. */
  async function findUnknown(): Promise<void> {
    const inRedis = await inventory.list();
    for (const id of await sales.unknownAmong([...inRedis], await proveLedger())) closed.set(id, null);
  }

  async function rebuildClosed(): Promise<void> {
    const until = performance.now() + REBUILD_RUN_MS;
    const reserved = new Set(await inventory.withReservations([...closed.keys()]));
    // biome-ignore lint/plugin/wall-time: compared with the sale's window
    const now = Date.now();
    const isOpen = (sale: LedgerSale | null): boolean => sale !== null && sale.startsAt <= now && now < sale.endsAt;
    const sorted = [...closed].sort(
      ([a, saleA], [b, saleB]) =>
        Number(reserved.has(b)) - Number(reserved.has(a)) || Number(isOpen(saleB)) - Number(isOpen(saleA)),
    );
    isUnfinished = false;
    async function rebuildOne([id]: [string, unknown]): Promise<void> {
      isUnfinished ||= performance.now() > until;
      if (isUnfinished || !(await rebuildInventory(dependencies, id, closedSince.note(id, true)))) return;
      closed.delete(id);
      closedSince.note(id, false);
    }
    await forEach(sorted, rebuildOne, REBUILDS_AT_ONCE);
  }

  return {
    /** The next run stops this sale, if the ledger still has none of this id. */
    suspect: (saleId: string): void => void closed.set(saleId, null),

    /**
     * @param all every sale, also those that ended long ago, and those that the ledger lacks
     * @throws the first error, after all of them were checked
     */
    async runOnce(all = true): Promise<void> {
      const checks = all || isUnfinished ? () => checkAll(all ? {} : { endedWithinMs: RECENT_SALE_MS }) : checkSome;
      await forEach([checks, ...(all ? [findUnknown] : []), rebuildClosed], (step) => step());
    },
  };
}

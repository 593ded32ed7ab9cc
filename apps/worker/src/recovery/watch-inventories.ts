/**
 * Checks inventories, and rebuilds those that are not sound (rebuild-inventory.ts). A run checks
 * the next slice of the sales. If it finds a newly closed inventory, Redis may have lost them all,
 * so it checks every sale. Sales with reservations are rebuilt first, then those that are open. Now
 * and then it looks for sales that Redis has and the ledger has not.
 */
import type { Inventory } from '@flash-sale/core/inventory/inventory.ts';
import type { LedgerSale } from '@flash-sale/core/ledger/sale-rows.ts';
import type { SaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import { type ClosedInventories, createClosedInventories } from './closed-inventories.ts';
import { forEach, RECENT_SALE_MS } from './loop.ts';
import { type RebuildDependencies, rebuildInventory } from './rebuild-inventory.ts';
import { createSaleSlices } from './sale-slices.ts';

/** Checks that are sent to Redis together: they block it for 2 ms. */
const CHECKS_AT_ONCE = 100;

/** Each takes a connection to PostgreSQL. */
const REBUILDS_AT_ONCE = 3;

/** Milliseconds of rebuilding after which all sales are checked again: Redis may be lost again. */
const REBUILD_RUN_MS = 2_000;

export interface WatchDependencies extends RebuildDependencies {
  readonly inventory: Pick<Inventory, 'check' | 'withReservations' | 'list'>;
  readonly sales: Pick<SaleStore, 'list' | 'find' | 'unknownAmong'>;
  readonly sliceMax?: number;
}

export function createInventoryWatch(
  dependencies: WatchDependencies,
  closed: ClosedInventories = createClosedInventories(),
) {
  const { inventory, sales, proveLedger, sliceMax } = dependencies;
  const slices = createSaleSlices(sales, sliceMax);
  /** Not sound when they were checked last, by sale id; null: the ledger has no such sale. */
  const unsound = new Map<string, LedgerSale | null>();
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

  /** A sale is in the ledger before it has an inventory. */
  async function findUnknown(): Promise<void> {
    const inRedis = await inventory.list();
    for (const id of await sales.unknownAmong([...inRedis], await proveLedger())) unsound.set(id, null);
  }

  async function rebuildUnsound(): Promise<void> {
    const until = performance.now() + REBUILD_RUN_MS;
    const reserved = new Set(await inventory.withReservations([...unsound.keys()]));
    // biome-ignore lint/plugin/wall-time: compared with the sale's window
    const now = Date.now();
    const isOpen = ({ startsAt, endsAt }: LedgerSale): boolean => startsAt <= now && now < endsAt;
    const rank = ([id, sale]: [string, LedgerSale | null]): number =>
      4 * Number(reserved.has(id)) + 2 * Number(sale && isOpen(sale)) + Number(sale && sale.sold > 0);
    const sorted = [...unsound].sort((a, b) => rank(b) - rank(a));
    isUnfinished = false;
    async function rebuildOne([id]: [string, unknown]): Promise<void> {
      isUnfinished ||= performance.now() > until;
      if (isUnfinished || !(await rebuildInventory(dependencies, id, closed.note(id, true)))) return;
      unsound.delete(id);
      closed.note(id, false);
    }
    await forEach(sorted, rebuildOne, REBUILDS_AT_ONCE);
  }

  return {
    /** The next run stops this sale, if the ledger still has none of this id. */
    suspect: (saleId: string): void => void unsound.set(saleId, null),

    /**
     * @param all every sale, also those that ended long ago, and those that the ledger lacks
     * @throws the first error, after all of them were checked
     */
    async runOnce(all = true): Promise<void> {
      const checks = all || isUnfinished ? () => checkAll(all ? {} : { endedWithinMs: RECENT_SALE_MS }) : checkSome;
      await forEach([checks, ...(all ? [findUnknown] : []), rebuildUnsound], (step) => step());
    },
  };
}

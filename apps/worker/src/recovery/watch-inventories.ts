/** Checks every inventory, and rebuilds those that are not sound (rebuild-inventory.ts). */
import type { SaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import { type ClosedInventories, createClosedInventories } from './closed-inventories.ts';
import { forEach, RECENT_SALE_MS } from './loop.ts';
import { type RebuildDependencies, rebuildInventory } from './rebuild-inventory.ts';

export interface WatchDependencies extends RebuildDependencies {
  readonly sales: Pick<SaleStore, 'list' | 'find'>;
}

export function createInventoryWatch(
  dependencies: WatchDependencies,
  closed: ClosedInventories = createClosedInventories(),
) {
  const { inventory, sales } = dependencies;

  async function watch(sale: { id: string; epoch: number }): Promise<void> {
    const { condition } = await inventory.check(sale.id, sale.epoch);
    const closedMs = closed.note(sale.id, condition !== 'sound');
    if (condition === 'sound') return;
    if (await rebuildInventory(dependencies, sale.id, closedMs)) closed.note(sale.id, false);
  }

  return {
    /**
     * @param all also sales that ended long ago
     * @throws the first error, after all of them were checked
     */
    async runOnce(all = true): Promise<void> {
      const listed = await sales.list({ ...(all ? {} : { endedWithinMs: RECENT_SALE_MS }), order: 'open first' });
      // The others have never had an inventory.
      const watched = listed.filter((sale) => sale.inventoryVersion > 0);
      await forEach(watched, watch);
    },
  };
}

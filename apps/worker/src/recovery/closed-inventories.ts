/**
 * Since when inventories have been closed, as this process saw it: for the record of a rebuild, and
 * for metrics, which know it even while PostgreSQL is unavailable.
 */
export type ClosedInventories = ReturnType<typeof createClosedInventories>;

export function createClosedInventories() {
  /** By performance.now(). */
  const since = new Map<string, number>();
  return {
    /** @returns milliseconds since the inventory was first seen closed; 0 if it is open */
    note(saleId: string, isClosed: boolean): number {
      if (!isClosed) {
        since.delete(saleId);
        return 0;
      }
      const now = performance.now();
      const first = since.get(saleId) ?? now;
      since.set(saleId, first);
      return now - first;
    },
  };
}

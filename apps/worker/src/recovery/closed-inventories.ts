/**
 * Remembers when this process first saw an inventory closed. The time is stored with the rebuild,
 * and is a metric, which works even while PostgreSQL is unavailable.
 */
export type ClosedInventories = ReturnType<typeof createClosedInventories>;

export function createClosedInventories() {
  /** performance.now() by sale id. */
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

/**
 * Reads the present status of orders that are replayed. A storm of retries comes while the ledger
 * confirms the first orders, so one query at a time asks for all that wait.
 */
import type { OrderStore } from '@flash-sale/core/ledger/order-store.ts';
import { startDeadline } from '@flash-sale/core/runtime/deadline.ts';
import { unavailableDependency } from '@flash-sale/core/runtime/errors.ts';
import { LRUCache } from 'lru-cache';
import type { OrderBody } from './order-contract.ts';

/** Orders whose final status is in memory, so that a loop of retries reads it once. */
const FINISHED_MAX = 10_000;

/** Orders in one query; beyond them a replay is answered without its status. */
const READ_MAX = 1_000;

/** Milliseconds that a replay waits for the present status of its order. */
const TIMEOUT_MS = 500;

type Finished = Exclude<OrderBody['status'], 'pending'>;

export function createReplayStatus({ orders }: { orders: Pick<OrderStore, 'outcomesOf'> }) {
  const finished = new LRUCache<string, Finished>({ max: FINISHED_MAX });
  let lastRead: Promise<unknown> = Promise.resolve();
  let next: { readonly ids: Set<string>; readonly statuses: Promise<ReadonlyMap<string, Finished>> } | null = null;

  async function read(ids: ReadonlySet<string>): Promise<ReadonlyMap<string, Finished>> {
    next = null;
    const statuses = new Map<string, Finished>();
    for (const { id, status } of await orders.outcomesOf([...ids])) {
      statuses.set(id, status);
      finished.set(id, status);
    }
    return statuses;
  }

  /** Reads begin after the previous one has ended; those that are asked for meanwhile are one. */
  function readNext() {
    const ids = new Set<string>();
    const statuses = lastRead.then(() => read(ids));
    lastRead = statuses.catch(() => {});
    return { ids, statuses };
  }

  /**
   * @param orderId of an order whose key the inventory knows: pending until the ledger has it
   * @returns `accepted` while the status cannot be read
   */
  return async function replayStatus(orderId: string): Promise<'accepted' | OrderBody['status']> {
    const known = finished.get(orderId);
    if (known !== undefined) return known;
    next ??= readNext();
    const { ids, statuses } = next;
    if (ids.size >= READ_MAX && !ids.has(orderId)) return 'accepted';
    ids.add(orderId);
    try {
      const read = await startDeadline(TIMEOUT_MS).within('postgres', () => statuses);
      return read.get(orderId) ?? 'pending';
    } catch (error) {
      if (unavailableDependency(error) === null) throw error;
      return 'accepted';
    }
  };
}

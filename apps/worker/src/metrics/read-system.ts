/**
 * A snapshot of the whole system, for the worker's metrics: sales from the ledger, then inventory,
 * queue and heartbeat from Redis. A dependency that does not answer in time counts as down, and its
 * numbers are left out. It is not asked again before it has answered, so that calls do not pile up.
 * While PostgreSQL is unavailable, the sales that it listed last are used.
 */
import type { Heartbeat } from '@flash-sale/core/inventory/heartbeat.ts';
import type { Inventory } from '@flash-sale/core/inventory/inventory.ts';
import type { OpenReservations } from '@flash-sale/core/inventory/open-reservations.ts';
import type { EpochStore } from '@flash-sale/core/ledger/epoch-store.ts';
import type { LedgerSale } from '@flash-sale/core/ledger/sale-rows.ts';
import type { SaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import type { OrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import { startDeadline } from '@flash-sale/core/runtime/deadline.ts';
import type { ClosedInventories } from '../recovery/closed-inventories.ts';
import { RECENT_SALE_MS } from '../recovery/loop.ts';

/** Milliseconds for which a snapshot is reused: all metrics of a scrape share one. */
const SNAPSHOT_MS = 1_000;
/** Milliseconds that each dependency has to answer; a usual scrape timeout is 10 s. */
const TIMEOUT_MS = 1_000;
/** Sales in a snapshot, active ones first: each is a dozen series. */
const SALES_MAX = 50;

/** Numbers that could not be read are null. */
export type SystemSnapshot = Awaited<ReturnType<ReturnType<typeof createSystemReader>>>;

/** @returns a function that reads a snapshot and never throws */
export function createSystemReader(stores: {
  sales: Pick<SaleStore, 'list' | 'versions'>;
  epochs: Pick<EpochStore, 'closedSeconds'>;
  inventory: Pick<Inventory, 'read'>;
  reservations: OpenReservations;
  queue: Pick<OrderQueue, 'readLoad'>;
  heartbeat: Pick<Heartbeat, 'isFresh'>;
  closed: ClosedInventories;
}) {
  const { sales, epochs, inventory, reservations, queue, heartbeat, closed } = stores;
  let known: readonly LedgerSale[] = [];
  let unmonitoredSales = 0;
  let closedBefore: ReadonlyMap<string, number> = new Map();

  const askLedger = oneAtATime(async () => {
    const recent = { endedWithinMs: RECENT_SALE_MS };
    const first = await sales.list({ ...recent, order: 'open first', limit: SALES_MAX });
    const found = first.filter((sale) => sale.inventoryVersion > 0);
    closedBefore = await epochs.closedSeconds(found.map((sale) => sale.id));
    unmonitoredSales = first.length < SALES_MAX ? 0 : (await sales.versions(recent)).size - SALES_MAX;
    known = found;
    return true;
  });

  const askRedis = oneAtATime(async () => {
    const [workerAlive, load, ofSales] = await Promise.all([
      heartbeat.isFresh(),
      queue.readLoad(),
      Promise.all(known.map(async ({ id }) => [id, await askSale(id)] as const)),
    ]);
    // biome-ignore lint/plugin/wall-time: the producer stored the date
    const oldestS = load.oldestAddedAt === null ? 0 : secondsBetween(load.oldestAddedAt, Date.now());
    return { workerAlive, queue: { jobs: load.jobs, oldestS }, sales: new Map(ofSales) };
  });

  async function askSale(saleId: string) {
    const [{ now, numbers }, { orders, redelivered, oldestReservedAt }] = await Promise.all([
      inventory.read(saleId),
      reservations.read(saleId),
    ]);
    return {
      /** At one instant; null while the inventory is closed. */
      units: numbers,
      /** Seconds since this process first saw the inventory closed; 0 while it is open. */
      closedS: closed.note(saleId, numbers === null) / 1_000,
      reservations: orders,
      /** Of the reservations: enqueued again by the reaper. */
      redelivered,
      oldestReservationS: oldestReservedAt === null ? 0 : secondsBetween(oldestReservedAt, now),
    };
  }

  async function readNow() {
    const postgres = (await inTime('postgres', askLedger)) ?? false;
    const redis = await inTime('redis', askRedis);
    return {
      /** Whether the dependency answered in time. */
      up: { redis: redis !== null, postgres },
      queue: redis?.queue ?? null,
      workerAlive: redis?.workerAlive ?? null,
      /** Sales beyond SALES_MAX. */
      unmonitoredSales,
      sales: known.map(({ id, epoch, allotment, sold }) => ({
        id,
        epoch,
        ledger: postgres ? { allotment, sold } : null,
        /** Seconds that the inventory was closed before, by the ledger. */
        closedBeforeS: closedBefore.get(id) ?? 0,
        redis: redis?.sales.get(id) ?? null,
      })),
    };
  }

  let latest: { readAt: number; snapshot: ReturnType<typeof readNow> } | null = null;

  return function readSystem() {
    const now = performance.now();
    if (latest === null || now - latest.readAt > SNAPSHOT_MS) latest = { readAt: now, snapshot: readNow() };
    return latest.snapshot;
  };
}

/** @returns null when it failed or did not answer in time */
function inTime<Result>(dependency: 'redis' | 'postgres', ask: () => Promise<Result>): Promise<Result | null> {
  return startDeadline(TIMEOUT_MS)
    .within(dependency, ask)
    .catch(() => null);
}

/** Calls made while one is pending share its result. */
function oneAtATime<Result>(ask: () => Promise<Result>): () => Promise<Result> {
  let pending: Promise<Result> | null = null;
  return () => {
    pending ??= ask().finally(() => {
      pending = null;
    });
    return pending;
  };
}

/** Between two times in ms; 0 when the clocks of two hosts disagree. */
function secondsBetween(fromMs: number, toMs: number): number {
  return Math.max(0, toMs - fromMs) / 1_000;
}

/**
 * Numbers of the whole system, for the metrics of a worker.
 *   1. The ledger says which sales there are; while it is away, those that it named last.
 *   2. Redis says how it is, and what inventory and queue hold.
 *   3. All of it is told again for SYSTEM_NUMBERS_MEMORY_MS.
 * A part that does not answer within SYSTEM_NUMBERS_TIMEOUT_MS is told to be down, and its numbers are left out: the others come all the same.
 * It is not asked a second time before it has answered: to a Redis that is away questions would pile up.
 */

import {
  SYSTEM_NUMBERS_MEMORY_MS,
  SYSTEM_NUMBERS_SALES_MAX,
  SYSTEM_NUMBERS_TIMEOUT_MS,
} from '@flash-sale/core/config/limits.ts';
import type { Heartbeat } from '@flash-sale/core/inventory/heartbeat.ts';
import type { Inventory } from '@flash-sale/core/inventory/inventory.ts';
import type { OrdersUnderWay } from '@flash-sale/core/inventory/open-reservations.ts';
import type { EpochStore } from '@flash-sale/core/ledger/epoch-store.ts';
import type { PostgresLoad } from '@flash-sale/core/ledger/read-load.ts';
import type { LedgerSale } from '@flash-sale/core/ledger/sale-rows.ts';
import type { SaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import type { OrderQueue } from '@flash-sale/core/queue/order-queue.ts';
import { startDeadline } from '@flash-sale/core/runtime/deadline.ts';
import type { RedisLoad, SaleNumbers, SystemNumbers } from '@flash-sale/core/runtime/system-metrics.ts';

type OfInventory = Pick<SaleNumbers, 'inventory' | 'closedS' | 'underWay'>;

export function createSystemNumbers(parts: {
  sales: Pick<SaleStore, 'list'>;
  epochs: Pick<EpochStore, 'closedSeconds'>;
  postgresLoad: () => Promise<PostgresLoad>;
  inventory: Pick<Inventory, 'read'>;
  underWay: OrdersUnderWay;
  queue: Pick<OrderQueue, 'readLoad'>;
  sign: Pick<Heartbeat, 'isFresh'>;
  redisLoad: () => Promise<RedisLoad[]>;
}) {
  const { sales, epochs, postgresLoad, inventory, underWay, queue, sign, redisLoad } = parts;
  let known: readonly LedgerSale[] = [];
  let leftOut = 0;
  let closedBefore: ReadonlyMap<string, number> = new Map();
  /** Since when (performance.now) each inventory that is closed was seen to be so. */
  const closedSince = new Map<string, number>();

  const askLedger = oneAtATime(async () => {
    const all = (await sales.list({ endedWithinMs: 86_400_000, order: 'on first' })).filter(
      (sale) => sale.inventoryVersion > 0,
    );
    const found = all.slice(0, SYSTEM_NUMBERS_SALES_MAX);
    leftOut = all.length - found.length;
    closedBefore = await epochs.closedSeconds(found.map((sale) => sale.id));
    known = found;
    return postgresLoad();
  });

  const askRedis = oneAtATime(async () => {
    const [redis, workerAlive, load, ofInventories] = await Promise.all([
      redisLoad(),
      sign.isFresh(),
      queue.readLoad(),
      Promise.all(known.map(async ({ id }) => [id, await askInventory(id)] as const)),
    ]);
    const oldestS = load.oldestAddedAt === null ? 0 : secondsBetween(load.oldestAddedAt, Date.now());
    return { redis, workerAlive, queue: { jobs: load.jobs, oldestS }, inventories: new Map(ofInventories) };
  });

  async function askInventory(saleId: string): Promise<OfInventory> {
    const [{ now, numbers }, { orders, redelivered, oldestReservedAt }] = await Promise.all([
      inventory.read(saleId),
      underWay.read(saleId),
    ]);
    const looked = performance.now();
    if (numbers !== null) closedSince.delete(saleId);
    else if (!closedSince.has(saleId)) closedSince.set(saleId, looked);
    return {
      inventory: numbers ?? 'closed',
      closedS: secondsBetween(closedSince.get(saleId) ?? looked, looked),
      underWay: { orders, redelivered, oldestS: oldestReservedAt === null ? 0 : secondsBetween(oldestReservedAt, now) },
    };
  }

  const unknown: OfInventory = { inventory: 'unknown', closedS: 0, underWay: null };

  async function readNow(): Promise<SystemNumbers> {
    const postgres = await inTime('postgres', askLedger);
    const answer = await inTime('redis', askRedis);
    return {
      up: { redis: answer !== null, postgres: postgres !== null },
      postgres,
      redis: answer?.redis ?? [],
      queue: answer?.queue ?? null,
      workerAlive: answer?.workerAlive ?? null,
      salesLeftOut: leftOut,
      sales: known.map(({ id, epoch, allotment, sold }) => ({
        id,
        epoch,
        ledger: postgres === null ? null : { allotment, sold },
        closedBeforeS: closedBefore.get(id) ?? 0,
        ...(answer?.inventories.get(id) ?? unknown),
      })),
    };
  }

  let remembered: { askedAt: number; answer: Promise<SystemNumbers> } | null = null;

  /** Never throws. */
  return function read(): Promise<SystemNumbers> {
    const now = performance.now();
    if (remembered === null || now - remembered.askedAt > SYSTEM_NUMBERS_MEMORY_MS)
      remembered = { askedAt: now, answer: readNow() };
    return remembered.answer;
  };
}

/** @returns null where it did not answer, or could not */
function inTime<Result>(part: 'redis' | 'postgres', ask: () => Promise<Result>): Promise<Result | null> {
  return startDeadline(SYSTEM_NUMBERS_TIMEOUT_MS)
    .within(part, ask)
    .catch(() => null);
}

/** Whoever asks while the answer is awaited waits for the same one. */
function oneAtATime<Result>(ask: () => Promise<Result>): () => Promise<Result> {
  let asking: Promise<Result> | null = null;
  return () => {
    asking ??= ask().finally(() => {
      asking = null;
    });
    return asking;
  };
}

/** Of two times in ms of one clock; clocks of two hosts may be apart, and nothing is younger than 0. */
function secondsBetween(fromMs: number, toMs: number): number {
  return Math.max(0, toMs - fromMs) / 1_000;
}

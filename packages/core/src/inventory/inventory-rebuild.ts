/**
 * The steps of rebuilding an inventory, as Redis has them. Each says the epoch that it speaks for; once a higher one has closed the inventory, those
 * of an older one are refused. So the lease below only keeps two workers from doing the same work: it need not be right.
 * Who calls them, in which order and with what from the ledger: apps/worker/src/recovery/rebuild.ts.
 */

import { REBUILD_CHUNK } from '../config/limits.ts';
import type { AcceptedOrder } from '../domain/order.ts';
import type { Sale } from '../domain/sale.ts';
import type { AnyRedis } from '../runtime/redis/open-redis.ts';
import { createInvalidations } from './invalidations.ts';
import type { Keys } from './keys.ts';
import { defineScripts } from './lua-script.ts';
import { expectWord, InventoryRecoveringError } from './outcomes.ts';
import { decodeReservation } from './reservation.ts';

export type InventoryRebuild = ReturnType<typeof createInventoryRebuild>;

export function createInventoryRebuild({ redis, keys }: { redis: AnyRedis; keys: Keys }) {
  const run = defineScripts(redis);

  /** @throws InventoryRecoveringError where a rebuilder of a higher epoch, or another life of Redis, came in between */
  function expectEpoch(saleId: string, script: string, found: unknown, word: string): void {
    if (expectWord(script, found, word, 'other_epoch') === 'other_epoch') throw new InventoryRecoveringError(saleId);
  }

  async function inChunks<Item>(
    items: readonly Item[],
    work: (chunk: readonly Item[]) => Promise<void>,
  ): Promise<void> {
    for (let at = 0; at < items.length; at += REBUILD_CHUNK) await work(items.slice(at, at + REBUILD_CHUNK));
  }

  async function restoreFields(
    saleId: string,
    epoch: number,
    target: 'buyers' | 'orderKeys' | 'stockChanges',
    fields: readonly (readonly [string, string | number])[],
  ): Promise<void> {
    const sale = keys.sale(saleId);
    await inChunks(fields, async (chunk) => {
      const [word] = await run('restore-fields', [sale.inventory, sale[target]], [epoch, ...chunk.flat()]);
      expectEpoch(saleId, 'restore-fields', word, 'restored');
    });
  }

  async function dropFields(
    saleId: string,
    epoch: number,
    target: 'reservations' | 'stockChanges',
    fields: readonly string[],
  ): Promise<void> {
    const sale = keys.sale(saleId);
    await inChunks(fields, async (chunk) => {
      const [word] = await run('drop-fields', [sale.inventory, sale[target]], [epoch, ...chunk]);
      expectEpoch(saleId, 'drop-fields', word, 'dropped');
    });
  }

  return {
    restoreFields,

    /** @returns false where another worker has the lease; it expires after `leaseMs` */
    async takeLease(saleId: string, token: string, leaseMs: number): Promise<boolean> {
      return (await redis.set(keys.sale(saleId).rebuilder, token, 'PX', leaseMs, 'NX')) === 'OK';
    },

    /** A worker that lost the lease meanwhile loses nothing but work. */
    async renewLease(saleId: string, leaseMs: number): Promise<void> {
      await redis.pexpire(keys.sale(saleId).rebuilder, leaseMs);
    },

    async returnLease(saleId: string, token: string): Promise<void> {
      const { rebuilder } = keys.sale(saleId);
      // Two steps, without harm: a lease that is lost in between costs another rebuilder one epoch.
      if ((await redis.get(rebuilder)) === token) await redis.del(rebuilder);
    },

    /** From here on nothing is admitted, and what can be made again is cleared. @throws InventoryRecoveringError */
    async close(saleId: string, epoch: number): Promise<void> {
      const sale = keys.sale(saleId);
      const names = [sale.inventory, sale.claims, sale.redeliveries, sale.buyers, sale.orderKeys, sale.earlierOrders];
      const [word] = await run('close-inventory', names, [epoch]);
      expectEpoch(saleId, 'close-inventory', word, 'closed');
    },

    /** The reservations that Redis still has, some at a time; `unreadable` are records that somebody wrote to. */
    async *reservations(saleId: string): AsyncGenerator<{ orders: AcceptedOrder[]; unreadable: string[] }> {
      const { reservations } = keys.sale(saleId);
      let cursor = '0';
      do {
        const [next, fields] = await redis.hscan(reservations, cursor, 'COUNT', REBUILD_CHUNK);
        cursor = next;
        const orders: AcceptedOrder[] = [];
        const unreadable: string[] = [];
        for (let i = 0; i < fields.length; i += 2) {
          const id = fields[i] as string;
          const order = decodeReservation(id, fields[i + 1] as string);
          if (order) orders.push(order);
          else unreadable.push(id);
        }
        yield { orders, unreadable };
      } while (cursor !== '0');
    },

    /** What the inventory had decided of changes of stock, by their ids. */
    async decidedChanges(saleId: string): Promise<Map<string, string>> {
      const decided = new Map<string, string>();
      let cursor = '0';
      do {
        const [next, fields] = await redis.hscan(keys.sale(saleId).stockChanges, cursor, 'COUNT', REBUILD_CHUNK);
        cursor = next;
        for (let i = 0; i < fields.length; i += 2) decided.set(fields[i] as string, fields[i + 1] as string);
      } while (cursor !== '0');
      return decided;
    },

    /** From here on they were never decided. */
    async forgetChanges(saleId: string, epoch: number, ids: readonly string[]): Promise<void> {
      await dropFields(saleId, epoch, 'stockChanges', ids);
    },

    async drop(saleId: string, epoch: number, orderIds: readonly string[]): Promise<void> {
      await dropFields(saleId, epoch, 'reservations', orderIds);
    },

    /** From here on it is known that this inventory has had them. */
    async remember(saleId: string, epoch: number, orderIds: readonly string[]): Promise<void> {
      const sale = keys.sale(saleId);
      await inChunks(orderIds, async (chunk) => {
        const [word] = await run('remember-orders', [sale.inventory, sale.earlierOrders], [epoch, ...chunk]);
        expectEpoch(saleId, 'remember-orders', word, 'remembered');
      });
    },

    /** From here on it admits. @returns units that are available. @throws InventoryRecoveringError */
    async open(
      sale: Sale,
      epoch: number,
      units: { allotment: number; sold: number; reserved: number; orders: number },
    ): Promise<number> {
      const names = keys.sale(sale.id);
      const { allotment, sold, reserved, orders } = units;
      const settings = [sale.startsAt, sale.endsAt, sale.perBuyerLimit, sale.paused ? 1 : 0, sale.version];
      const [word, available] = await run(
        'open-inventory',
        [names.inventory, names.reservations, names.redeliveries],
        [epoch, allotment, sold, reserved, orders, ...settings],
      );
      expectEpoch(sale.id, 'open-inventory', word, 'opened');
      createInvalidations({ redis, keys }).tell(sale.id);
      return Number(available);
    },
  };
}

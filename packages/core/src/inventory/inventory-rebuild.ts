/**
 * The steps of a rebuild, in Redis. Each names the epoch that it acts for: once a higher epoch has
 * closed the inventory, steps of a lower one are refused. The lease only saves two workers from
 * doing the same work. apps/worker/src/recovery/rebuild-inventory.ts calls the steps with what it
 * reads from the ledger.
 *
 * Steps throw InventoryRecoveringError if a rebuilder of a higher epoch, or another Redis instance,
 * has taken over.
 */

import { REBUILD_CHUNK } from '../config/limits.ts';
import type { AcceptedOrder } from '../domain/order.ts';
import type { Sale } from '../domain/sale.ts';
import { WHEN_FULL } from '../runtime/redis/full-redis.ts';
import type { AnyRedis } from '../runtime/redis/open-redis.ts';
import { hashPages } from './hash-pages.ts';
import { publishInvalidation } from './invalidations.ts';
import type { Keys } from './keys.ts';
import { defineScripts } from './lua-script.ts';
import { InventoryRecoveringError } from './outcomes.ts';
import { decodeReservation } from './reservation.ts';

/** SET alone is refused while Redis is full. */
const TAKE_LEASE = `${WHEN_FULL}return redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2], 'NX')`;

export type InventoryRebuild = ReturnType<typeof createInventoryRebuild>;

export function createInventoryRebuild({ redis, keys }: { redis: AnyRedis; keys: Keys }) {
  const run = defineScripts(redis);

  async function step(saleId: string, ...call: Parameters<typeof run>): Promise<unknown[]> {
    const reply = await run(...call);
    if (reply[0] === 'other_epoch') throw new InventoryRecoveringError(saleId);
    return reply;
  }

  async function write(
    saleId: string,
    epoch: number,
    name: 'reservations' | 'buyers' | 'orderKeys' | 'stockChanges' | 'earlierOrders',
    command: 'HSET' | 'HDEL' | 'SADD',
    items: readonly (readonly (string | number)[])[],
  ): Promise<void> {
    const { inventory, [name]: target } = keys.sale(saleId);
    for (let at = 0; at < items.length; at += REBUILD_CHUNK) {
      const values = items.slice(at, at + REBUILD_CHUNK).flat();
      await step(saleId, 'rebuild-write', { inventory, target }, [epoch, command, ...values]);
    }
  }

  const each = (ids: readonly string[]) => ids.map((id) => [id]);

  return {
    /** @returns false if another worker has the lease; it expires after `leaseMs` */
    async takeLease(saleId: string, token: string, leaseMs: number): Promise<boolean> {
      return (await redis.eval(TAKE_LEASE, 1, keys.sale(saleId).rebuilder, token, leaseMs)) === 'OK';
    },

    async renewLease(saleId: string, leaseMs: number): Promise<void> {
      await redis.pexpire(keys.sale(saleId).rebuilder, leaseMs);
    },

    async returnLease(saleId: string, token: string): Promise<void> {
      const { rebuilder } = keys.sale(saleId);
      // Not atomic: a lease that is lost in between costs another rebuilder one epoch, nothing
      // else.
      if ((await redis.get(rebuilder)) === token) await redis.del(rebuilder);
    },

    /** Closes the inventory and deletes what is recreated from ledger and reservations. */
    async close(saleId: string, epoch: number): Promise<void> {
      await step(saleId, 'close-inventory', keys.sale(saleId), [epoch]);
    },

    /** Lets the API look at the sale again. */
    invalidate: (saleId: string): void => publishInvalidation({ redis, keys }, saleId),

    /**
     * Pages through the reservations that Redis still has; `unreadable` are ids of those that
     * cannot be read.
     */
    async *reservations(saleId: string): AsyncGenerator<{ orders: AcceptedOrder[]; unreadable: string[] }> {
      for await (const page of hashPages(redis, keys.sale(saleId).reservations)) {
        const orders: AcceptedOrder[] = [];
        const unreadable: string[] = [];
        for (const [id, text] of page) {
          const order = decodeReservation(id, text);
          if (order) orders.push(order);
          else unreadable.push(id);
        }
        yield { orders, unreadable };
      }
    },

    /** @returns `applied` or `refused` by id of stock change, as the inventory decided */
    async decidedChanges(saleId: string): Promise<Map<string, string>> {
      const decided = new Map<string, string>();
      for await (const page of hashPages(redis, keys.sale(saleId).stockChanges)) {
        for (const [id, decision] of page) decided.set(id, decision);
      }
      return decided;
    },

    restoreFields: (
      saleId: string,
      epoch: number,
      name: 'buyers' | 'orderKeys' | 'stockChanges',
      fields: readonly (readonly [string, string | number])[],
    ) => write(saleId, epoch, name, 'HSET', fields),

    /** Forgets decisions on stock changes. */
    forgetChanges: (saleId: string, epoch: number, ids: readonly string[]) =>
      write(saleId, epoch, 'stockChanges', 'HDEL', each(ids)),

    /** Deletes reservations. */
    drop: (saleId: string, epoch: number, orderIds: readonly string[]) =>
      write(saleId, epoch, 'reservations', 'HDEL', each(orderIds)),

    /** Stores that this inventory has had these orders of an earlier epoch. */
    remember: (saleId: string, epoch: number, orderIds: readonly string[]) =>
      write(saleId, epoch, 'earlierOrders', 'SADD', each(orderIds)),

    /**
     * Opens the inventory.
     *
     * @param units and the number of reservations they are in
     * @returns units available
     */
    async open(
      sale: Sale,
      epoch: number,
      units: { allotment: number; sold: number; reserved: number; orders: number },
    ): Promise<number> {
      const { allotment, sold, reserved, orders } = units;
      const settings = [sale.startsAt, sale.endsAt, sale.perBuyerLimit, sale.paused ? 1 : 0, sale.version];
      const args = [epoch, allotment, sold, reserved, orders, ...settings];
      const [, available] = await step(sale.id, 'reopen-inventory', keys.sale(sale.id), args);
      publishInvalidation({ redis, keys }, sale.id);
      return Number(available);
    },
  };
}

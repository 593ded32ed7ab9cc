/**
 * The steps of making a gate anew, as Redis has them. Each says the epoch that it speaks for; once a higher one has closed the gate, those
 * of an older one are refused. So the lease below only keeps two workers from doing the same work: it need not be right.
 * Who calls them, in which order and with what from the ledger: apps/worker/src/recovery/rebuild-gates.ts.
 */

import { REBUILD_CHUNK, REBUILD_LEASE_MS } from '../limits.ts';
import type { AcceptedOrder } from '../orders/order.ts';
import type { Keys } from '../redis/keys.ts';
import { defineScripts } from '../redis/lua-script.ts';
import type { AnyRedis } from '../redis/open-redis.ts';
import { createSaleNews } from '../redis/sale-news.ts';
import type { Sale } from '../sales/sale.ts';
import { expectWord, GateRecoveringError } from './gate-words.ts';
import { decodeReservation } from './reservation.ts';

export type GateRebuild = ReturnType<typeof createGateRebuild>;

export function createGateRebuild({ redis, keys }: { redis: AnyRedis; keys: Keys }) {
  const run = defineScripts(redis);

  /** @throws GateRecoveringError where a rebuilder of a higher epoch, or another life of Redis, came in between */
  function expectEpoch(saleId: string, script: string, found: unknown, word: string): void {
    if (expectWord(script, found, word, 'other_epoch') === 'other_epoch') throw new GateRecoveringError(saleId);
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
      const [word] = await run('restore-fields', [sale.gate, sale[target]], [epoch, ...chunk.flat()]);
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
      const [word] = await run('drop-fields', [sale.gate, sale[target]], [epoch, ...chunk]);
      expectEpoch(saleId, 'drop-fields', word, 'dropped');
    });
  }

  return {
    restoreFields,

    /** @returns false where another rebuilder is at work. It ends by itself after REBUILD_LEASE_MS. */
    async takeLease(saleId: string, token: string): Promise<boolean> {
      return (await redis.set(keys.sale(saleId).rebuilder, token, 'PX', REBUILD_LEASE_MS, 'NX')) === 'OK';
    },

    /** The holder is alive and goes on. Whoever lost it meanwhile loses nothing but work. */
    async renewLease(saleId: string): Promise<void> {
      await redis.pexpire(keys.sale(saleId).rebuilder, REBUILD_LEASE_MS);
    },

    async returnLease(saleId: string, token: string): Promise<void> {
      const { rebuilder } = keys.sale(saleId);
      // Two steps, without harm: a lease that is lost in between costs another rebuilder one epoch.
      if ((await redis.get(rebuilder)) === token) await redis.del(rebuilder);
    },

    /** From here on nothing is admitted, and what can be made again is cleared. @throws GateRecoveringError */
    async close(saleId: string, epoch: number): Promise<void> {
      const sale = keys.sale(saleId);
      const names = [sale.gate, sale.claims, sale.handOvers, sale.buyers, sale.orderKeys, sale.earlierOrders];
      const [word] = await run('close-gate', names, [epoch]);
      expectEpoch(saleId, 'close-gate', word, 'closed');
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

    /** What the gate had decided of changes of stock, by their ids. */
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

    /** From here on it is known that this gate has had them. */
    async remember(saleId: string, epoch: number, orderIds: readonly string[]): Promise<void> {
      const sale = keys.sale(saleId);
      await inChunks(orderIds, async (chunk) => {
        const [word] = await run('remember-orders', [sale.gate, sale.earlierOrders], [epoch, ...chunk]);
        expectEpoch(saleId, 'remember-orders', word, 'remembered');
      });
    },

    /** From here on it admits. @returns units that are available. @throws GateRecoveringError */
    async open(
      sale: Sale,
      epoch: number,
      units: { allotment: number; sold: number; reserved: number; orders: number },
    ): Promise<number> {
      const names = keys.sale(sale.id);
      const { allotment, sold, reserved, orders } = units;
      const settings = [sale.startsAt, sale.endsAt, sale.perBuyerLimit, sale.paused ? 1 : 0, sale.version];
      const [word, available] = await run(
        'open-gate',
        [names.gate, names.reservations, names.handOvers],
        [epoch, allotment, sold, reserved, orders, ...settings],
      );
      expectEpoch(sale.id, 'open-gate', word, 'opened');
      createSaleNews({ redis, keys }).tell(sale.id);
      return Number(available);
    },
  };
}

/**
 * Sales in which everything happens all the time, so that every step is reached within seconds: a crowd with and without keys, operators,
 * orders that the ledger refuses, orders that nobody takes care of, inventories that are lost. Each part repeats by itself until it is stopped.
 */
import { randomInt } from 'node:crypto';
import { newOrderId } from '@flash-sale/core/domain/order.ts';
import { createInventory } from '@flash-sale/core/inventory/inventory.ts';
import { createSaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import { createOrderQueue, encodeJob, ORDER_QUEUE } from '@flash-sale/core/queue/order-queue.ts';
import { ADMIN_TOKEN } from '../support/running-system.ts';
import { makeSale, reservationText } from '../support/sales.ts';
import type { World } from '../support/world.ts';

/** The ledger refuses this buyer's orders. */
const REFUSED = 'refused-by-the-ledger';
/** So many of those below: they end only when the ledger is well again. */
const DEGRADED_MAX = 40;
/** The ledger cannot write this buyer's orders, and says that the fault is its own (SQLSTATE 42501). */
const DEGRADED = 'degraded-ledger';

export interface BusySales {
  /** Orders that a reply of 200 named, with their buyer. */
  readonly accepted: ReadonlyMap<string, string>;
  /** Sales in which something happens all the time; beside them there are more and more small ones. */
  readonly saleIds: readonly string[];
  /** Replies of the crowd by code. */
  readonly replies: Readonly<Record<string, number>>;
  /** Faults of the parts that make it busy, other than those that a killed process explains. */
  readonly faults: readonly string[];
  stop(): Promise<void>;
}

/**
 * @param urls of the APIs; a buyer's request goes to any of them, an operator's to the last: the one that was started last to be killed
 * @param newSales whether sales are created all the time; each of them makes the loss of Redis longer
 */
export async function keepBusy(
  world: World,
  urls: () => readonly string[],
  { newSales = true } = {},
): Promise<BusySales> {
  const inventory = createInventory(world);
  const sales = createSaleStore(world.pool);
  const atQueue = world.redis.duplicate({ maxRetriesPerRequest: null });
  // Redis may be what is killed.
  atQueue.on('error', () => {});
  const queue = createOrderQueue({ redis: atQueue, prefix: world.keys.queuePrefix });
  const accepted = new Map<string, string>();
  const replies: Record<string, number> = {};
  const faults: string[] = [];
  const stopping = new AbortController();
  const operator = { actor: 'test', requestId: 'test' };
  let number = 0;
  const unique = (): number => number++;

  await world.pool.query(`
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '23514'; END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON orders FOR EACH ROW
      WHEN (NEW.buyer_id = '${REFUSED}' AND NEW.status = 'confirmed') EXECUTE FUNCTION refuse();
    CREATE FUNCTION ail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no rights' USING ERRCODE = '42501'; END $$;
    CREATE TRIGGER ail BEFORE INSERT ON orders FOR EACH ROW WHEN (NEW.buyer_id = '${DEGRADED}') EXECUTE FUNCTION ail()`);
  const crowded = await makeSale(world, { id: 'crowded', units: 1_500_000, perBuyerLimit: 1_000 });
  const operated = await makeSale(world, { id: 'operated', units: 1_000 });
  const orphaned = await makeSale(world, { id: 'orphaned', units: 1_000_000 });
  // Several, because a rebuilder that is killed keeps its sale closed for the time of its lease.
  const shaken = await Promise.all(
    Array.from({ length: 6 }, (_, i) => makeSale(world, { id: `shaken-${i}`, units: 100_000, perBuyerLimit: 1_000 })),
  );
  let degradedOrders = 0;

  async function send(
    url: string | undefined,
    path: string,
    body: object | null,
    headers: Record<string, string>,
  ): Promise<Record<string, unknown> | null> {
    if (url === undefined) return null;
    try {
      const response = await fetch(`${url}${path}`, {
        method: 'POST',
        headers: { ...headers, ...(body ? { 'content-type': 'application/json' } : {}) },
        ...(body ? { body: JSON.stringify(body) } : {}),
        signal: AbortSignal.timeout(5_000),
      });
      return (await response.json()) as Record<string, unknown>;
    } catch {
      // The process was killed, or stands still: the buyer knows nothing.
      return null;
    }
  }

  async function order(saleId: string, buyerId: string, key?: string, quantity = 1): Promise<string | null> {
    const up = urls();
    const reply = await send(
      up.length > 0 ? up[randomInt(up.length)] : undefined,
      `/api/flash-sales/${saleId}/order`,
      { quantity },
      { 'x-user-id': buyerId, ...(key ? { 'idempotency-key': key } : {}) },
    );
    const word = reply === null ? 'BROKEN' : String(reply.code ?? reply.status);
    replies[word] = (replies[word] ?? 0) + 1;
    if (word !== 'accepted') return null;
    accepted.set(reply?.order_id as string, buyerId);
    return reply?.order_id as string;
  }

  const operate = (path: string, body: object | null = null) =>
    send(urls().at(-1), `/api/admin/sales${path}`, body, { authorization: `Bearer ${ADMIN_TOKEN}` });

  /** An order that holds units and that no job carries. */
  async function orphan(saleId: string, buyerId: string, quantity = 1) {
    const request = { orderId: newOrderId(saleId), buyerId, quantity, requestId: 'orphan', idempotencyKey: null };
    const { decisions } = await inventory.reserve(saleId, [request], -1, { capacity: 0, refillRate: 1 });
    const outcome = decisions[0]?.outcome;
    if (outcome?.kind !== 'reserved') return null;
    const { reservedAt, epoch } = outcome;
    return {
      saleId,
      epoch,
      orders: [{ id: request.orderId, buyerId, quantity, requestId: 'orphan', reservedAt, idempotencyKey: null }],
    };
  }

  /** Only where it is still there: Redis may have been killed meanwhile, and have lost its last second. */
  async function countRedeliveries(orderId: string, count: number): Promise<void> {
    const { reservations, redeliveries } = world.keys.sale(orphaned.id);
    const ifThere = `if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then redis.call('HSET', KEYS[2], ARGV[1], ARGV[2]) end`;
    await world.redis.eval(ifThere, 2, reservations, redeliveries, orderId, count);
  }

  const parts: Record<string, () => Promise<void>> = {
    async crowd() {
      await Promise.all(
        Array.from({ length: 8 }, async () => {
          const buyer = `buyer-${unique()}`;
          const key = randomInt(2) === 0 ? `key-${unique()}` : undefined;
          await order(crowded.id, buyer, key, 1 + randomInt(3));
          if (key && randomInt(4) === 0) await order(crowded.id, buyer, key);
        }),
      );
    },
    /** Asks far more than one buyer may, so that permits come back. */
    async flooder() {
      await Promise.all(Array.from({ length: 12 }, () => order(crowded.id, 'flooder')));
    },
    async operators() {
      const startsAt = new Date(Date.now() - 60_000).toISOString();
      const endsAt = new Date(Date.now() + 3_600_000 + unique()).toISOString();
      const made = {
        product_id: `made-${unique()}`,
        name: 'Made',
        original_price: '2',
        flash_sale_price: '1',
        units: 5,
        starts_at: startsAt,
        ends_at: endsAt,
      };
      if (newSales) await operate('', made);
      await operate(`/${operated.id}/pause`);
      await operate(`/${operated.id}/resume`);
      await operate(`/${operated.id}/window`, { starts_at: startsAt, ends_at: endsAt });
      await operate(`/${operated.id}/stock`, { delta: randomInt(2) === 0 ? 3 : -2, reason: 'busy' });
      for (const url of urls())
        await fetch(`${url}/api/flash-sales/${crowded.id}`, { signal: AbortSignal.timeout(5_000) }).catch(() => {});
    },
    /** What a crashed API leaves of an operator's work. */
    async halfDone() {
      const id = `half-done-${unique()}`;
      const sale = {
        id,
        name: 'Half done',
        description: null,
        originalPrice: '2',
        flashSalePrice: '1',
        currency: 'USD',
        units: 5,
        startsAt: Date.now() - 60_000,
        endsAt: Date.now() + 3_600_000,
        perBuyerLimit: 0,
      };
      if (newSales) await sales.create(sale, operator);
      const change = `change-${unique()}`;
      await sales.beginStockChange({ id: change, saleId: operated.id, delta: 1, reason: 'half done' }, operator);
      await world.pool.query(`UPDATE stock_changes SET created_at = now() - interval '1 minute' WHERE id = $1`, [
        change,
      ]);
      await sales.setPaused(operated.id, true, operator);
      await sales.setPaused(operated.id, false, operator);
    },
    async refused() {
      await order(orphaned.id, REFUSED);
      await orphan(orphaned.id, `orphan-${unique()}`);
    },
    /** Redelivered too often: to be rejected. */
    async worn() {
      const batch = await orphan(orphaned.id, `worn-${unique()}`);
      const id = batch?.orders[0]?.id;
      if (id) await countRedeliveries(id, 8);
    },
    /** Its last attempt fails for a fault of the ledger. */
    async degraded() {
      if (degradedOrders++ >= DEGRADED_MAX) return pause(200);
      const batch = await orphan(orphaned.id, DEGRADED);
      if (!batch) return;
      const [one] = batch.orders as [(typeof batch.orders)[number]];
      await countRedeliveries(one.id, 1);
      await queue.bullQueue.add(ORDER_QUEUE, encodeJob({ ...batch, orders: [one] }), { attempts: 1 });
    },
    /** Redis forgets a key whose order the ledger has, and the buyer asks again. */
    async forgottenKey() {
      const [buyer, key] = [`forgotten-${unique()}`, 'key'];
      const first = await order(orphaned.id, buyer, key);
      if (!first) return;
      if (!(await untilConfirmed(first))) return;
      const { orderKeys } = world.keys.sale(orphaned.id);
      await world.redis.hdel(orderKeys, `${buyer} ${key}`);
      // This one is not promised to be confirmed: it is the second of its key.
      const second = await order(orphaned.id, buyer, key);
      if (second) accepted.delete(second);
      // Where nobody was there to take it, the key is as we found it: a key that stays forgotten is a break, and rightly.
      else await untilDone(() => world.redis.hsetnx(orderKeys, `${buyer} ${key}`, `${first} 1`));
    },
    /** The inventory is lost with an order that is in a job, one that is reserved, and one that the ledger has and that is reserved all the same. */
    async lostInventory() {
      const sale = shaken[randomInt(shaken.length)] as (typeof shaken)[number];
      const buyer = `committed-${unique()}`;
      const keys = world.keys.sale(sale.id);
      const [inJob, reserved, committed] = [
        await orphan(sale.id, `in-job-${unique()}`),
        await orphan(sale.id, `reserved-${unique()}`),
        await order(sale.id, buyer, `key-${unique()}`),
      ];
      if (!inJob || !reserved || !committed) return;
      if (!(await untilConfirmed(committed))) return;
      await world.redis
        .multi()
        .hset(keys.inventory, 'instance_id', 'f'.repeat(40))
        .hset(keys.reservations, committed, reservationText(Date.now(), buyer))
        .hdel(keys.reservations, (inJob.orders[0] as { id: string }).id)
        .exec();
      // Before that the ledger would take the order as one of the present epoch.
      await untilEpochAfter(sale.id, inJob.epoch);
      await queue.add([inJob]);
    },
  };

  /** Redis may be what is killed. */
  async function untilDone(work: () => Promise<unknown>): Promise<void> {
    for (let attempt = 1; attempt < 40; attempt++) {
      const done = await work().then(
        () => true,
        () => false,
      );
      if (done) return;
      await pause(250);
    }
    await work();
  }

  async function untilEpochAfter(saleId: string, epoch: number): Promise<void> {
    for (let tries = 0; tries < 100 && !stopping.signal.aborted; tries++) {
      const { rows } = await world.pool.query('SELECT 1 FROM sales WHERE id = $1 AND epoch > $2', [saleId, epoch]);
      if (rows.length > 0) return;
      await pause(50);
    }
  }

  async function untilConfirmed(id: string): Promise<boolean> {
    for (let tries = 0; tries < 100 && !stopping.signal.aborted; tries++) {
      const { rows } = await world.pool.query('SELECT 1 FROM orders WHERE id = $1', [id]);
      if (rows.length > 0) return true;
      await pause(50);
    }
    return false;
  }

  const slow = new Set(['operators', 'halfDone']);
  const running = Object.entries(parts).map(async ([name, part]) => {
    while (!stopping.signal.aborted) {
      await part().catch((error: Error) => faults.push(`${name}: ${error.message}`));
      await pause(slow.has(name) ? 400 : 100);
    }
  });

  return {
    accepted,
    saleIds: [crowded, operated, orphaned, ...shaken].map(({ id }) => id),
    replies,
    faults,
    async stop() {
      stopping.abort();
      await Promise.all(running);
      await world.pool.query('DROP TRIGGER refuse ON orders; DROP TRIGGER ail ON orders');
      await queue.close();
    },
  };
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

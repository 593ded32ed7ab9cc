/**
 * Sales in which everything happens at once, so that every failpoint is reached within seconds: a
 * crowd with and without keys, operators, orders that the ledger refuses, orphaned reservations,
 * lost inventories. Each activity repeats until it is stopped.
 */
import { randomInt } from 'node:crypto';
import { newOrderId } from '@flash-sale/core/domain/order.ts';
import { createInventory } from '@flash-sale/core/inventory/inventory.ts';
import { createSaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import { createOrderQueue, encodeJob, ORDER_QUEUE } from '@flash-sale/core/queue/order-queue.ts';
import { ADMIN_TOKEN } from '../support/running-system.ts';
import { makeSale, newSale, reservationText } from '../support/sales.ts';
import type { World } from '../support/world.ts';

/** The ledger refuses this buyer's orders. */
const REFUSED = 'refused-by-the-ledger';
/** Most orders of DEGRADED: they end only after its trigger is dropped. */
const DEGRADED_MAX = 40;
/** The ledger fails to write this buyer's orders by a fault of its own (SQLSTATE 42501). */
const DEGRADED = 'degraded-ledger';

export interface BusySales {
  /** Orders that were answered with 200, with their buyer. */
  readonly accepted: ReadonlyMap<string, string>;
  /** The sales that are audited; the small ones that operators create are not among them. */
  readonly saleIds: readonly string[];
  /** Replies of the crowd by code. */
  readonly replies: Readonly<Record<string, number>>;
  /** Errors of the activities that no killed process explains. */
  readonly faults: readonly string[];
  stop(): Promise<void>;
}

/**
 * @param urls of the APIs: buyers use any of them, operators each in turn
 * @param newSales whether operators create sales now; every worker checks each of them twice a
 * second
 */
export async function keepBusy(
  world: World,
  urls: () => readonly string[],
  { newSales = () => false }: { newSales?: () => boolean } = {},
): Promise<BusySales> {
  const inventory = createInventory(world);
  const sales = createSaleStore(world.pool);
  const atQueue = world.redis.duplicate({ maxRetriesPerRequest: null });
  // A test may kill this Redis.
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
  // Several: a killed rebuilder keeps its sale closed until its lease ends.
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
      // The process was killed or is stopped.
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

  let operatorTurns = 0;
  const operate = (path: string, body: object | null = null) =>
    send(urls()[operatorTurns % urls().length], `/api/admin/sales${path}`, body, {
      authorization: `Bearer ${ADMIN_TOKEN}`,
    });

  /** Reserves an order that is in no job. */
  async function orphan(saleId: string, buyerId: string, quantity = 1) {
    const request = { id: newOrderId(saleId), buyerId, quantity, requestId: 'orphan', idempotencyKey: null };
    const { decisions } = await inventory.reserve(saleId, [request], -1, { capacity: 0, refillRate: 1 });
    const outcome = decisions[0]?.outcome;
    if (outcome?.kind !== 'reserved') return null;
    const { reservedAt, epoch } = outcome;
    return {
      saleId,
      epoch,
      orders: [{ ...request, reservedAt }],
    };
  }

  /** Only if the reservation still exists: a killed Redis may have lost its last second. */
  async function countRedeliveries(orderId: string, count: number): Promise<void> {
    const { reservations, redeliveries } = world.keys.sale(orphaned.id);
    const ifThere = `if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then redis.call('HSET', KEYS[2], ARGV[1], ARGV[2]) end`;
    await world.redis.eval(ifThere, 2, reservations, redeliveries, orderId, count);
  }

  const activities: Record<string, () => Promise<void>> = {
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
    /** Exceeds its own limit, so that permits are returned. */
    async flooder() {
      await Promise.all(Array.from({ length: 12 }, () => order(crowded.id, 'flooder')));
    },
    async operators() {
      operatorTurns += 1;
      const startsAt = new Date(Date.now() - 60_000).toISOString();
      const endsAt = new Date(Date.now() + 3_600_000 + unique()).toISOString();
      const made = {
        product_id: `made-${unique()}`,
        name: 'Made',
        original_price: '2',
        flash_sale_price: '1',
        currency: 'USD',
        units: 5,
        starts_at: startsAt,
        ends_at: endsAt,
      };
      if (newSales()) await operate('', made);
      await operate(`/${operated.id}/pause`);
      await operate(`/${operated.id}/resume`);
      await operate(`/${operated.id}/window`, { starts_at: startsAt, ends_at: endsAt });
      await operate(`/${operated.id}/stock`, { delta: randomInt(2) === 0 ? 3 : -2, reason: 'busy' });
      for (const url of urls())
        await fetch(`${url}/api/flash-sales/${crowded.id}`, { signal: AbortSignal.timeout(5_000) }).catch(() => {});
    },
    /** Changes that a crashed API left half done. */
    async halfDone() {
      if (newSales()) await sales.create(newSale({ id: `half-done-${unique()}` }), operator);
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
    /** Redelivered so often that it is rejected. */
    async undeliverable() {
      const batch = await orphan(orphaned.id, `undeliverable-${unique()}`);
      const id = batch?.orders[0]?.id;
      if (id) await countRedeliveries(id, 8);
    },
    /** Its last attempt fails by a fault of the ledger. */
    async degraded() {
      if (degradedOrders++ >= DEGRADED_MAX) return pause(200);
      const batch = await orphan(orphaned.id, DEGRADED);
      if (!batch) return;
      const [one] = batch.orders as [(typeof batch.orders)[number]];
      await countRedeliveries(one.id, 1);
      await queue.bullQueue.add(ORDER_QUEUE, encodeJob({ ...batch, orders: [one] }), { attempts: 1 });
    },
    /** Redis loses a key whose order is in the ledger, and the buyer repeats the request. */
    async forgottenKey() {
      const [buyer, key] = [`forgotten-${unique()}`, 'key'];
      const first = await order(orphaned.id, buyer, key);
      if (!first) return;
      if (!(await untilConfirmed(first))) return;
      const { orderKeys } = world.keys.sale(orphaned.id);
      await world.redis.hdel(orderKeys, `${buyer} ${key}`);
      // The second order of a key may be rejected.
      const second = await order(orphaned.id, buyer, key);
      if (second) accepted.delete(second);
      // If no API answered, restore the key: the audit would report it as lost.
      else await untilDone(() => world.redis.hsetnx(orderKeys, `${buyer} ${key}`, `${first} 1`));
    },
    /**
     * Closes an inventory that has an order in a job, a reserved one, and a confirmed one whose
     * reservation remains.
     */
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
      // Earlier, the ledger would confirm the order in the current epoch.
      await untilEpochAfter(sale.id, inJob.epoch);
      await queue.add([inJob]);
    },
  };

  /** Retries while Redis is down. */
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

  const PAUSES: Record<string, number> = { crowd: 250, flooder: 250, operators: 400, halfDone: 400 };
  const running = Object.entries(activities).map(async ([name, act]) => {
    while (!stopping.signal.aborted) {
      await act().catch((error: Error) => faults.push(`${name}: ${error.message}`));
      await pause(PAUSES[name] ?? 100);
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

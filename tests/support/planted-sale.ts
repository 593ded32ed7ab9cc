/** A sale whose records a test writes step by step, so that it can leave a step out. */
import { newOrderId } from '@flash-sale/core/domain/order.ts';
import type { SaleKeys } from '@flash-sale/core/inventory/keys.ts';
import type { NewSale, SaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import { encodeJob } from '@flash-sale/core/queue/order-queue.ts';
import { makeSale, newSale } from './sales.ts';
import type { World } from './world.ts';

let count = 0;

/** ms that an order is old unless a test says otherwise. */
const ORDER_AGE_MS = 10;

export class PlantedSale {
  readonly id: string;
  readonly keys: SaleKeys;
  /** Its first orders: one of ann's under the key "k1", one of cy's, one of dee's. */
  confirmed = '';
  reserved = '';
  rejected = '';
  readonly #world: World;
  readonly #capped: boolean;

  private constructor(world: World, id: string, capped: boolean) {
    this.#world = world;
    this.id = id;
    this.keys = world.keys.sale(id);
    this.#capped = capped;
  }

  /** ann has a unit and bob two, cy has one reserved with a waiting job, dee was rejected. */
  static async make(world: World, wanted: Partial<NewSale> = {}): Promise<PlantedSale> {
    count += 1;
    const sale = await makeSale(world, { id: `planted${count}`, ...wanted });
    const planted = new PlantedSale(world, sale.id, sale.perBuyerLimit > 0);
    planted.confirmed = await planted.reserve('ann', 1, { key: 'k1' });
    const bobs = await planted.reserve('bob', 2);
    planted.reserved = await planted.reserve('cy', 1, { key: 'k1' });
    planted.rejected = newOrderId(sale.id);
    await planted.confirm(planted.confirmed, 'ann', 1, { key: 'k1' });
    await planted.confirm(bobs, 'bob', 2);
    await planted.commit(planted.confirmed, bobs);
    await planted.reject(planted.rejected, 'dee');
    await planted.addJob([planted.reserved]);
    await planted.age();
    return planted;
  }

  /** A sale that only the ledger has. @returns its id */
  static async insertOnly(sales: SaleStore, id: string): Promise<string> {
    await sales.create(newSale({ id }), { actor: 'test', requestId: 'test' });
    return id;
  }

  /** Makes every change by an operator older than the audit's settle time. */
  async age(): Promise<void> {
    const { pool } = this.#world;
    const ago = "now() - interval '1 minute'";
    await pool.query(`UPDATE sales SET created_at = ${ago} WHERE id = $1`, [this.id]);
    await pool.query(`UPDATE operator_actions SET at = ${ago} WHERE sale_id = $1`, [this.id]);
  }

  set(fields: Record<string, string>): Promise<number> {
    return this.#world.redis.hset(this.keys.inventory, fields);
  }

  /** Units and orders, added to the inventory's numbers. */
  async move(
    units: Partial<Record<'allotment' | 'available' | 'reserved' | 'sold' | 'orders', number>>,
  ): Promise<void> {
    for (const [name, by] of Object.entries(units)) await this.#world.redis.hincrby(this.keys.inventory, name, by);
  }

  /** @returns the order's id */
  async reserve(buyer: string, quantity = 1, { agoMs = ORDER_AGE_MS, key = '' } = {}): Promise<string> {
    const { redis } = this.#world;
    const id = newOrderId(this.id);
    const at = Math.round((await this.#now()) - agoMs);
    await this.move({ available: -quantity, reserved: quantity, orders: 1 });
    await redis.hset(this.keys.reservations, id, `${quantity}|${at}|request|${key.length}|${key}${buyer}`);
    if (this.#capped) await redis.hincrby(this.keys.buyers, buyer, quantity);
    if (key !== '') await redis.hset(this.keys.orderKeys, `${buyer} ${key}`, `${id} ${quantity}`);
    return id;
  }

  async confirm(id: string, buyer: string, quantity = 1, { agoMs = ORDER_AGE_MS, key = '' } = {}): Promise<void> {
    const { pool } = this.#world;
    await pool.query(
      `INSERT INTO orders (id, sale_id, buyer_id, quantity, unit_price, amount, currency, status, request_id, created_at,
                           idempotency_key)
       VALUES ($1, $2, $3, $4, 99.99, $4::int * 99.99, 'USD', 'confirmed', 'request', to_timestamp($5 / 1000.0), $6)`,
      [id, this.id, buyer, quantity, Math.round((await this.#now()) - agoMs), key === '' ? null : key],
    );
    await pool.query('UPDATE sales SET sold = sold + $2 WHERE id = $1', [this.id, quantity]);
  }

  async reject(id: string, buyer: string, quantity = 1): Promise<void> {
    await this.#world.pool.query(
      `INSERT INTO orders (id, sale_id, buyer_id, quantity, status, reason, request_id, created_at)
       VALUES ($1, $2, $3, $4, 'rejected', 'UNCONFIRMABLE', 'request', now())`,
      [id, this.id, buyer, quantity],
    );
  }

  async commit(...ids: string[]): Promise<void> {
    const { redis } = this.#world;
    for (const id of ids) {
      const quantity = Number.parseInt((await redis.hget(this.keys.reservations, id)) ?? '0', 10);
      const orders = -(await redis.hdel(this.keys.reservations, id));
      await this.move({ reserved: -quantity, sold: quantity, orders });
    }
  }

  /** Reserves, confirms and commits. */
  async sell(buyer: string, key = ''): Promise<void> {
    const order = await this.reserve(buyer, 1, { key });
    await this.confirm(order, buyer, 1, { key });
    await this.commit(order);
  }

  async nextEpoch(): Promise<void> {
    await this.#world.pool.query('UPDATE sales SET epoch = 2 WHERE id = $1', [this.id]);
    await this.set({ epoch: '2' });
  }

  /** First step of a change of stock, as the ledger takes it. */
  async beginChange(name: string, delta: number): Promise<void> {
    const { pool } = this.#world;
    await pool.query(
      `INSERT INTO stock_changes (id, sale_id, delta, reason, actor, request_id)
       VALUES ($1, $2, $3, 'test', 'test', 'test')`,
      [`${this.id}-${name}`, this.id, delta],
    );
    if (delta > 0) await pool.query('UPDATE sales SET allotment = allotment + $2 WHERE id = $1', [this.id, delta]);
  }

  /** A waiting job. @returns its id */
  async addJob(orders: string[], { saleId = this.id, epoch = 1, agoMs = 0 } = {}): Promise<string> {
    const at = Math.round((await this.#now()) - agoMs);
    const carried = orders.map((id) => ({
      id,
      buyerId: 'cy',
      quantity: 1,
      reservedAt: at,
      requestId: 'request',
      idempotencyKey: null,
    }));
    return this.addRawJob(JSON.stringify(encodeJob({ saleId, epoch, orders: carried })));
  }

  async addRawJob(data: string): Promise<string> {
    count += 1;
    const { redis, keys } = this.#world;
    const queue = `${keys.queuePrefix}:confirm-orders`;
    await redis.hset(`${queue}:planted-job${count}`, 'name', 'confirm-orders', 'data', data);
    await redis.lpush(`${queue}:wait`, `planted-job${count}`);
    return `planted-job${count}`;
  }

  async removeJob(id: string): Promise<void> {
    const { redis, keys } = this.#world;
    const queue = `${keys.queuePrefix}:confirm-orders`;
    await redis.lrem(`${queue}:wait`, 0, id);
    await redis.del(`${queue}:${id}`);
  }

  /** ms since 1970 by Redis' clock. */
  async #now(): Promise<number> {
    const [seconds, microseconds] = await this.#world.redis.time();
    return Number(seconds) * 1_000 + Number(microseconds) / 1_000;
  }
}

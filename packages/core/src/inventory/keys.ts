/**
 * The only file that spells Redis keys. docs/reference.md says who writes each and how long it
 * lives. All keys of an event carry its hash tag, so that they share a slot of Redis Cluster; so do
 * the keys of the whole system.
 */
import { eventOf } from '../domain/sale.ts';

/**
 * Keys of one sale, by the names that the headers of lua/ use. A type alias: scripts take it as a
 * record of strings.
 */
export type SaleKeys = {
  /** Hash: settings and numbers of the sale, epoch and instance id. */
  readonly inventory: string;
  /** Hash: order id → reservation (reservation.ts). */
  readonly reservations: string;
  /** Hash: order id → ms at which the reaper last claimed it. */
  readonly claims: string;
  /** Hash: order id → redeliveries by the reaper. */
  readonly redeliveries: string;
  /** Hash: buyer → units held. Only in sales with a cap. */
  readonly buyers: string;
  /** Hash: buyer, space, idempotency key → order id, space, quantity. */
  readonly orderKeys: string;
  /** Hash: id of a stock change → applied or refused. */
  readonly stockChanges: string;
  /** Set: ids of orders of earlier epochs that were in this inventory. */
  readonly earlierOrders: string;
  /** String: token of the worker that rebuilds the inventory. */
  readonly rebuilder: string;
  /** Two hashes of the event, swapped: buyer → token bucket (lua/include/buyer-buckets.lua). */
  readonly buckets0: string;
  readonly buckets1: string;
};

export interface Keys {
  sale(saleId: string): SaleKeys;
  /** Pattern of SCAN: the inventories of all sales. */
  readonly inventoryPattern: string;
  /** The sale of a key that matches it. */
  saleOfInventory(key: string): string;
  /** Hash: the window of the global rate limiter. */
  readonly globalRateLimiter: string;
  /** Channel: refusals of this sale may be outdated. The message is the sale's id. */
  invalidationChannel(saleId: string): string;
  /** Pattern of the channels of all sales. */
  readonly invalidationPattern: string;
  /** String: a worker's heartbeat. */
  readonly workerAlive: string;
  /** String: id of the ledger that these keys belong to (ledger-claim.ts). */
  readonly ledger: string;
  /** BullMQ's prefix; the braces keep all its keys in one slot. */
  readonly queuePrefix: string;
  /** Sorted set: id of a scratch space → second at which it is abandoned (scratch-space.ts). */
  readonly scratchSpaces: string;
}

/**
 * @param keyPrefix KEY_PREFIX; has no braces, so that the first pair in a key is the sale's
 * @param space of a scratch space: ':' and its name
 */
export function createKeys(keyPrefix: string, space = ''): Keys {
  const prefix = keyPrefix + space;
  return {
    sale(saleId) {
      const eventId = eventOf(saleId);
      const event = `${prefix}:{${eventId}}`;
      const sale = event + saleId.slice(eventId.length);
      return {
        inventory: `${sale}:inventory`,
        reservations: `${sale}:reservations`,
        claims: `${sale}:claims`,
        redeliveries: `${sale}:redeliveries`,
        buyers: `${sale}:buyers`,
        orderKeys: `${sale}:order-keys`,
        stockChanges: `${sale}:stock-changes`,
        earlierOrders: `${sale}:earlier-orders`,
        rebuilder: `${sale}:rebuilder`,
        buckets0: `${event}:buckets:0`,
        buckets1: `${event}:buckets:1`,
      };
    },
    inventoryPattern: `${prefix}:{*}*:inventory`,
    saleOfInventory: (key) => key.slice(prefix.length + 2, -':inventory'.length).replace('}', ''),
    globalRateLimiter: `${prefix}:{system}:window`,
    invalidationChannel: (saleId) => `${prefix}:{${saleId}}:invalidation`,
    invalidationPattern: `${prefix}:{*}:invalidation`,
    workerAlive: `${prefix}:{system}:worker-alive`,
    ledger: `${prefix}:{system}:ledger`,
    queuePrefix: `{${keyPrefix}}${space}`,
    scratchSpaces: `${prefix}:{system}:scratch-spaces`,
  };
}

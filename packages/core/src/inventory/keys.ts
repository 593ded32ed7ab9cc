/**
 * The only file that spells Redis keys. docs/reference.md says who writes each, how long it lives and how it is rebuilt.
 * All keys of a sale carry its hash tag, so that they share a slot of Redis Cluster; so do the two of the whole system.
 */

export interface SaleKeys {
  readonly inventory: string;
  readonly reservations: string;
  /** Hash: which orders the reaper has taken into its hands, and when. */
  readonly claims: string;
  readonly redeliveries: string;
  readonly buyers: string;
  readonly orderKeys: string;
  readonly stockChanges: string;
  /** Set: orders of earlier epochs that this inventory has, or has had. */
  readonly earlierOrders: string;
  /** String: who rebuilds the inventory at this moment. */
  readonly rebuilder: string;
  /** Two hashes that take turns. */
  readonly buckets: readonly [string, string];
}

export interface Keys {
  sale(saleId: string): SaleKeys;
  /** Hash: the system-wide sliding window. */
  readonly globalRateLimiter: string;
  /** Channel: something changed that may end a refusal of this sale. The message is the sale's id. */
  invalidationChannel(saleId: string): string;
  /** Pattern of the channels of all sales. */
  readonly invalidationPattern: string;
  /** String: the catalogue as JSON. */
  readonly catalogue: string;
  /** String: a worker's heartbeat. */
  readonly workerAlive: string;
  /** BullMQ's own prefix; the braces keep all its keys in one slot. */
  readonly queuePrefix: string;
}

/** @param prefix KEY_PREFIX; holds no braces, so that the first pair in a key is the sale's */
export function createKeys(prefix: string): Keys {
  return {
    sale(saleId) {
      const sale = `${prefix}:{${saleId}}`;
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
        buckets: [`${sale}:buckets:0`, `${sale}:buckets:1`],
      };
    },
    globalRateLimiter: `${prefix}:{system}:window`,
    invalidationChannel: (saleId) => `${prefix}:{${saleId}}:invalidation`,
    invalidationPattern: `${prefix}:{*}:invalidation`,
    catalogue: `${prefix}:{system}:catalogue`,
    workerAlive: `${prefix}:{system}:worker-alive`,
    queuePrefix: `{${prefix}}`,
  };
}

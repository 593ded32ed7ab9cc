/**
 * How the inventory decides a batch of orders, as the docs promise it. Part of inventory-model.ts.
 */

import type { OrderRequest } from '@flash-sale/core/domain/order.ts';
import type { BuyerBucketSettings } from '@flash-sale/core/inventory/inventory.ts';
import type { ReserveDecision, ReserveOutcome } from '@flash-sale/core/inventory/outcomes.ts';
import { orderKeyField } from '@flash-sale/core/inventory/reservation.ts';
import type { Bucket, InventoryModel, OpenInventory } from './inventory-model.ts';

export interface ReserveCall {
  readonly orders: readonly OrderRequest[];
  /** −1 = no limit. */
  readonly permits: number;
  readonly bucket: BuyerBucketSettings;
  readonly backlogLimit: number;
}

export interface ReserveReply {
  decisions: ReserveDecision[];
  permitsLeft: number;
}

/**
 * Orders are decided one after the other, each with what the ones before it took.
 *
 * @param nowUs microseconds since 1970
 */
export function reserve(model: InventoryModel, call: ReserveCall, nowUs: number): ReserveReply {
  const inventory = model.open();
  if (!inventory || model.lostBuyers(inventory)) {
    const outcome = { kind: model.inventory ? 'recovering' : 'unknown_sale' } as const;
    return {
      decisions: call.orders.map(() => ({ outcome, tokensLeft: -1, tokenInMs: 0 })),
      permitsLeft: call.permits,
    };
  }
  let permits = call.permits;
  const decisions = call.orders.map((order): ReserveDecision => {
    const repeated = ofKey(model, order);
    if (repeated) return { outcome: repeated, tokensLeft: -1, tokenInMs: 0 };

    const tokens = new BuyersTokens(model, order.buyerId, call.bucket, nowUs);
    const limited = tokens.refusal() ?? (permits === 0 ? ({ kind: 'system_limited' } as const) : null);
    if (limited) return { outcome: limited, ...tokens.left() };
    // Both limits let it through: it costs a token and a permit, whatever the sale says.
    tokens.takeOne();
    if (permits > 0) permits -= 1;

    const nowMs = Math.floor(nowUs / 1000);
    const refused = ofSale(model, inventory, order, call.backlogLimit, nowMs);
    if (!refused) {
      const { id, buyerId, quantity, requestId, idempotencyKey } = order;
      model.take(inventory, { id, buyerId, quantity, requestId, idempotencyKey, reservedAt: nowMs });
    }
    const outcome = refused ?? { kind: 'reserved', reservedAt: nowMs, available: 0, epoch: inventory.epoch };
    return { outcome, ...tokens.left() };
  });
  // `available` is that after the last order, for the whole batch.
  const { available } = inventory.numbers;
  return {
    decisions: decisions.map(({ outcome, ...tokens }) => ({
      outcome: outcome.kind === 'reserved' || outcome.kind === 'replayed' ? { ...outcome, available } : outcome,
      ...tokens,
    })),
    permitsLeft: permits,
  };
}

/** I4: a key has one order for ever; repeating it costs nothing. */
function ofKey(model: InventoryModel, { buyerId, idempotencyKey, quantity }: OrderRequest): ReserveOutcome | null {
  const first = idempotencyKey === null ? undefined : model.orderKeys.get(orderKeyField(buyerId, idempotencyKey));
  if (!first) return null;
  return first.quantity === quantity ? { kind: 'replayed', orderId: first.id, available: 0 } : { kind: 'key_reused' };
}

/** Why the sale refuses an order; reasons that hold for every order come first. */
function ofSale(
  model: InventoryModel,
  inventory: OpenInventory,
  { buyerId, quantity }: OrderRequest,
  backlogLimit: number,
  nowMs: number,
): ReserveOutcome | null {
  const { startsAt, endsAt, paused } = inventory.settings;
  const { available } = inventory.numbers;
  if (nowMs >= endsAt) return { kind: 'ended' };
  if (paused) return { kind: 'paused' };
  if (nowMs < startsAt) return { kind: 'not_open', waitMs: startsAt - nowMs };
  if (available === 0) return { kind: 'sold_out' };
  if (model.overCap(inventory, buyerId, quantity)) {
    return { kind: 'over_buyer_limit', holds: model.buyers.get(buyerId) ?? 0 };
  }
  if (quantity > available) return { kind: 'not_enough_units', available };
  if (inventory.orders >= backlogLimit) return { kind: 'ledger_behind' };
  return null;
}

/** A buyer's bucket at one instant. It is full until it is used, and refills as time passes. */
class BuyersTokens {
  private readonly limited: boolean;
  private readonly bucket: Bucket;
  private readonly model: InventoryModel;
  private readonly buyerId: string;
  private readonly settings: BuyerBucketSettings;

  constructor(model: InventoryModel, buyerId: string, settings: BuyerBucketSettings, nowUs: number) {
    const { capacity, refillRate } = settings;
    this.model = model;
    this.buyerId = buyerId;
    this.settings = settings;
    this.limited = capacity > 0;
    const kept = model.buckets.get(buyerId);
    const refilled = kept ? kept.tokens + (Math.max(0, nowUs - kept.at) * refillRate) / 1e6 : capacity;
    this.bucket = { tokens: Math.min(capacity, refilled), at: nowUs, fullAt: 0 };
    // Redis' clock was set back: the bucket refills by the new clock at once.
    if (this.limited && kept && kept.at > nowUs) this.keep();
  }

  refusal(): ReserveOutcome | null {
    const missing = 1 - this.bucket.tokens;
    if (!this.limited || missing <= 0) return null;
    return { kind: 'buyer_limited', waitMs: Math.ceil((missing * 1000) / this.settings.refillRate) };
  }

  takeOne(): void {
    if (!this.limited) return;
    this.bucket.tokens -= 1;
    this.keep();
  }

  left(): Pick<ReserveDecision, 'tokensLeft' | 'tokenInMs'> {
    const thousandths = Math.floor(this.bucket.tokens * 1_000);
    const isWhole = !this.limited || thousandths >= 1_000;
    return {
      tokensLeft: Math.floor(thousandths / 1_000),
      tokenInMs: isWhole ? 0 : Math.ceil((1_000 - thousandths) / this.settings.refillRate),
    };
  }

  private keep(): void {
    const { capacity, refillRate } = this.settings;
    const { tokens, at } = this.bucket;
    this.model.buckets.set(this.buyerId, { tokens, at, fullAt: at + ((capacity - tokens) / refillRate) * 1e6 });
  }
}

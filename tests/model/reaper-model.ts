/**
 * How the reaper passes over the reservations, as the docs promise it. Part of inventory-model.ts.
 */
import type { OrphansFound } from '@flash-sale/core/inventory/outcomes.ts';
import { byId, type InventoryModel } from './inventory-model.ts';

export interface PassSettings {
  readonly ageMs: number;
  /** After which a pass may start in any case. */
  readonly pauseMs: number;
}

/** A pass at this ms, of one page, because the reservations are few. @returns orphans by id */
export function claimOrphans(model: InventoryModel, { ageMs, pauseMs }: PassSettings, now: number): OrphansFound {
  const inventory = model.open();
  const none = { orphans: [], unreadable: [], epoch: inventory?.epoch ?? 0, next: null };
  const nextPass = inventory?.nextPass ?? 0;
  // A time further ahead than any pause was written before the clock was set back.
  const isTooEarly = now < nextPass && nextPass <= now + pauseMs;
  if (!inventory || model.reservations.size === 0 || isTooEarly) return none;
  let waitingSince = now;
  const orphans = [...model.reservations.values()].filter(({ id, reservedAt }) => {
    const said = model.claims.get(id) ?? reservedAt;
    const since = said > now ? 0 : said;
    const isOrphan = since <= now - ageMs;
    if (isOrphan) model.claims.set(id, now);
    else waitingSince = Math.min(waitingSince, since);
    return isOrphan;
  });
  const shortestPause = Math.min(Math.ceil(model.reservations.size / 10), pauseMs);
  inventory.nextPass = Math.min(Math.max(waitingSince + ageMs, now + shortestPause), now + pauseMs);
  const counted = orphans.map((order) => ({ ...order, redeliveries: model.redeliveries.get(order.id) ?? 0 }));
  return { ...none, orphans: counted.sort(byId) };
}

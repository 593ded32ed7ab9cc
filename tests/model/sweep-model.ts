/** How the reaper passes over the reservations, as the docs promise it. Part of inventory-model.ts. */
import type { AcceptedOrder } from '@flash-sale/core/domain/order.ts';
import type { OrphansFound } from '@flash-sale/core/inventory/outcomes.ts';
import { byId, type InventoryModel } from './inventory-model.ts';

export interface PassSettings {
  readonly ageMs: number;
  /** After which a pass may begin at the latest. */
  readonly pauseMs: number;
}

/** What a pass of the reaper at this ms would find, in one look, for they are few; null where none may begin. */
export function passAt(
  model: InventoryModel,
  { ageMs, pauseMs }: PassSettings,
  now: number,
): { orphans: AcceptedOrder[]; nextPass: number } | null {
  const nextPass = model.inventory?.nextPass ?? 0;
  // One that is further ahead than any is of a clock that was set back.
  const isTooEarly = now < nextPass && nextPass <= now + pauseMs;
  if (!model.open() || model.reservations.size === 0 || isTooEarly) return null;
  const orphans: AcceptedOrder[] = [];
  let waitingSince = now;
  for (const order of model.reservations.values()) {
    const said = model.claims.get(order.id) ?? order.reservedAt;
    const since = said > now ? 0 : said;
    if (since <= now - ageMs) orphans.push(order);
    else waitingSince = Math.min(waitingSince, since);
  }
  const shortestPause = Math.min(Math.ceil(model.reservations.size / 10), pauseMs);
  return { orphans, nextPass: Math.min(Math.max(waitingSince + ageMs, now + shortestPause), now + pauseMs) };
}

/** Orphans by id. */
export function claimOrphans(model: InventoryModel, settings: PassSettings, now: number): OrphansFound {
  const inventory = model.open();
  const pass = passAt(model, settings, now);
  if (inventory && pass) inventory.nextPass = pass.nextPass;
  for (const { id } of pass?.orphans ?? []) model.claims.set(id, now);
  const orphans = (pass?.orphans ?? []).map((order) => ({
    ...order,
    redeliveries: model.redeliveries.get(order.id) ?? 0,
  }));
  return { orphans: orphans.sort(byId), unreadable: [], epoch: inventory?.epoch ?? 0, next: null };
}

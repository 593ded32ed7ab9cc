/** How the sweep passes over the reservations, as the docs promise it. Part of gate-model.ts. */
import type { AcceptedOrder } from '../../orders/order.ts';
import type { StrandsFound } from '../../stock/gate-words.ts';
import { byId, type GateModel } from './gate-model.ts';

export interface PassSettings {
  readonly ageMs: number;
  /** After which a pass may begin at the latest. */
  readonly pauseMs: number;
}

/** What a pass of the sweep at this ms would find, in one look, for they are few; null where none may begin. */
export function passAt(
  model: GateModel,
  { ageMs, pauseMs }: PassSettings,
  now: number,
): { strands: AcceptedOrder[]; nextPass: number } | null {
  const nextPass = model.gate?.nextPass ?? 0;
  // One that is further ahead than any is of a clock that was set back.
  const isTooEarly = now < nextPass && nextPass <= now + pauseMs;
  if (!model.open() || model.reservations.size === 0 || isTooEarly) return null;
  const strands: AcceptedOrder[] = [];
  let waitingSince = now;
  for (const order of model.reservations.values()) {
    const said = model.claims.get(order.id) ?? order.reservedAt;
    const since = said > now ? 0 : said;
    if (since <= now - ageMs) strands.push(order);
    else waitingSince = Math.min(waitingSince, since);
  }
  const shortestPause = Math.min(Math.ceil(model.reservations.size / 10), pauseMs);
  return { strands, nextPass: Math.min(Math.max(waitingSince + ageMs, now + shortestPause), now + pauseMs) };
}

/** Strands by id. */
export function claimStrands(model: GateModel, settings: PassSettings, now: number): StrandsFound {
  const gate = model.open();
  const pass = passAt(model, settings, now);
  if (gate && pass) gate.nextPass = pass.nextPass;
  for (const { id } of pass?.strands ?? []) model.claims.set(id, now);
  const strands = (pass?.strands ?? []).map((order) => ({ ...order, handOvers: model.handOvers.get(order.id) ?? 0 }));
  return { strands: strands.sort(byId), unreadable: [], epoch: gate?.epoch ?? 0, next: null };
}

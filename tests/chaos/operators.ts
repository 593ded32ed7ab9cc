/**
 * Operators add and withdraw units, pause and resume, move windows and create sales. Without a
 * reply they repeat the request, a change of stock with the same change_id.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { type Offer, pause, type Stage } from './buyers.ts';
import { type Question, type Reply, wordOf } from './calls.ts';
import type { Random } from './seeded-random.ts';

const OPERATOR_STEP = { add: 44, withdraw: 14, pause: 9, move_window: 8, make_sale: 7, read_numbers: 18 } as const;

/** Sales at the beginning: tiny and large ones, with and without a cap. */
const FIRST_SALES = [
  { units: 5, cap: 0 },
  { units: 40, cap: 2 },
  { units: 150, cap: 0 },
  { units: 400, cap: 0 },
  { units: 80, cap: 3 },
  { units: 30, cap: 5 },
];

const HOUR_MS = 3_600_000;
const TRIES_MAX = 200;

/** Of a sale that is open throughout the run. */
const openWindow = () => ({ startsAt: performance.now() - HOUR_MS, endsAt: performance.now() + 48 * HOUR_MS });

export class Operators {
  readonly #stage: Stage;
  readonly #random: Random;
  readonly #pauseMs: number;

  constructor(stage: Stage, random: Random, pauseMs: number) {
    this.#stage = stage;
    this.#random = random;
    this.#pauseMs = pauseMs;
  }

  /** Before the first fault. */
  async createFirstSales(): Promise<void> {
    for (const [i, { units, cap }] of FIRST_SALES.entries()) {
      await this.#makeSale(this.#random.fork(`first-${i}`), `first-${i + 1}`, units, cap);
    }
  }

  /** Each sale has one operator, so that its settings change one after the other. */
  async run(count: number): Promise<void> {
    await Promise.all(Array.from({ length: count }, (_, i) => this.#operator(i, count)));
  }

  async #operator(number: number, count: number): Promise<void> {
    const { stopped, offers } = this.#stage;
    for (let step = 0; !stopped.aborted; step++) {
      const random = this.#random.fork(`${number}/${step}`);
      await pause(random.exponential(this.#pauseMs), stopped);
      if (stopped.aborted) return;
      const own = offers.filter((_, i) => i % count === number).slice(-6);
      const offer = own[Math.floor(random.next() * own.length)];
      if (offer) await this.#step(random, offer, `${number}-${step}`);
    }
  }

  async #step(random: Random, offer: Offer, name: string): Promise<void> {
    const { saleId } = offer;
    const what = random.weighted(OPERATOR_STEP);
    switch (what) {
      case 'add':
      case 'withdraw': {
        const delta = what === 'add' ? random.integer(10, 60) : -random.integer(1, 30);
        return this.#insist(random, { kind: 'change_stock', saleId, changeId: `${what}-${name}`, delta });
      }
      case 'pause':
        await this.#insist(random, { kind: 'pause', saleId });
        await pause(random.between(200, 1_500), this.#stage.stopped);
        return this.#insist(random, { kind: 'resume', saleId });
      case 'move_window': {
        const now = performance.now();
        const away = random.chance(0.5)
          ? { startsAt: now - 2 * HOUR_MS, endsAt: now - 10 }
          : { startsAt: now + random.between(500, 3_000), endsAt: now + HOUR_MS };
        await this.#insist(random, { kind: 'move_window', saleId, ...away });
        await pause(random.between(200, 1_500), this.#stage.stopped);
        return this.#insist(random, { kind: 'move_window', saleId, ...openWindow() });
      }
      case 'make_sale':
        return this.#makeSale(random, `sale-${name}`, random.integer(5, 120), random.pick([0, 0, 2, 4]));
      case 'read_numbers':
        await this.#stage.client.ask(random.pick(this.#stage.targets), { kind: 'read_numbers', saleId });
        return;
    }
  }

  async #makeSale(random: Random, saleId: string, units: number, cap: number): Promise<void> {
    const priceCents = random.integer(1, 20_000);
    await this.#insist(random, { kind: 'make_sale', saleId, units, cap, priceCents, ...openWindow() });
    this.#stage.offers.push({ saleId, units, cap });
  }

  /**
   * Repeats until the reply is final, for a while also after the run: no change stays half done.
   */
  async #insist(random: Random, asked: Question): Promise<void> {
    const { client, targets, stopped } = this.#stage;
    for (let attempt = 1; attempt <= TRIES_MAX; attempt++) {
      const reply = await client.ask(random.pick(targets), asked);
      if (isFinal(reply)) return;
      if (stopped.aborted && attempt > 20) return;
      await sleep(random.between(150, 700));
    }
  }
}

function isFinal(reply: Reply): boolean {
  return reply.how === 'replied' && reply.status < 500 && wordOf(reply) !== 'REQUEST_TOO_SLOW';
}

/**
 * Operators: they add and withdraw units, pause and resume, move the window, and make new sales, while everything around them breaks.
 * Whoever was not answered asks again, for a change of stock with the same change_id.
 */

import { type Offer, pause, type Stage } from './buyers.ts';
import { type Question, type QuestionOf, type Reply, wordOf } from './calls.ts';
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

export class Operators {
  readonly #stage: Stage;
  readonly #random: Random;
  readonly #pauseMs: number;

  constructor(stage: Stage, random: Random, pauseMs: number) {
    this.#stage = stage;
    this.#random = random;
    this.#pauseMs = pauseMs;
  }

  /** Before anything breaks. */
  async createFirstSales(): Promise<void> {
    for (const [i, { units, cap }] of FIRST_SALES.entries()) {
      await this.#makeSale(this.#random.fork(`first-${i}`), `first-${i + 1}`, units, cap);
    }
  }

  /** Each operator has every second sale to himself, so that each sale's settings change one after the other. */
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
    switch (random.weighted(OPERATOR_STEP)) {
      case 'add':
        await this.#insist(random, {
          kind: 'change_stock',
          saleId,
          changeId: `add-${name}`,
          delta: random.integer(10, 60),
        });
        return;
      case 'withdraw':
        await this.#insist(random, {
          kind: 'change_stock',
          saleId,
          changeId: `out-${name}`,
          delta: -random.integer(1, 30),
        });
        return;
      case 'pause':
        await this.#insist(random, { kind: 'pause', saleId });
        await pause(random.between(200, 1_500), this.#stage.stopped);
        await this.#insist(random, { kind: 'resume', saleId });
        return;
      case 'move_window': {
        const now = performance.now();
        const away = random.chance(0.5)
          ? { startsAt: now - 2 * HOUR_MS, endsAt: now - 10 }
          : { startsAt: now + random.between(500, 3_000), endsAt: now + HOUR_MS };
        await this.#insist(random, { kind: 'move_window', saleId, ...away });
        await pause(random.between(200, 1_500), this.#stage.stopped);
        await this.#insist(random, {
          kind: 'move_window',
          saleId,
          startsAt: now - HOUR_MS,
          endsAt: now + 48 * HOUR_MS,
        });
        return;
      }
      case 'make_sale':
        await this.#makeSale(random, `sale-${name}`, random.integer(5, 120), random.pick([0, 0, 2, 4]));
        return;
      case 'read_numbers':
        await this.#stage.client.ask(random.pick(this.#stage.targets), { kind: 'read_numbers', saleId });
        return;
    }
  }

  async #makeSale(random: Random, saleId: string, units: number, cap: number): Promise<void> {
    const now = performance.now();
    const asked: QuestionOf<'make_sale'> = {
      kind: 'make_sale',
      saleId,
      units,
      cap,
      priceCents: random.integer(1, 20_000),
      startsAt: now - HOUR_MS,
      endsAt: now + 48 * HOUR_MS,
    };
    await this.#insist(random, asked);
    this.#stage.offers.push({ saleId, units: asked.units, cap });
  }

  /** Until there is a word that holds; after the end of the run as well, for a while, so that no sale is left half changed. */
  async #insist(random: Random, asked: Question): Promise<void> {
    const { client, targets, stopped } = this.#stage;
    for (let attempt = 1; attempt <= TRIES_MAX; attempt++) {
      const reply = await client.ask(random.pick(targets), asked);
      if (isFinal(reply)) return;
      if (stopped.aborted && attempt > 20) return;
      await new Promise((resolve) => setTimeout(resolve, random.between(150, 700)));
    }
  }
}

function isFinal(reply: Reply): boolean {
  return reply.how === 'replied' && reply.status < 500 && wordOf(reply) !== 'REQUEST_TOO_SLOW';
}

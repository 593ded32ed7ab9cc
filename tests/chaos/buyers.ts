/**
 * Buyers. Each step has a random stream of its own, so the same seed makes the same decisions;
 * which sales exist and what replies say depends on real time. After a broken connection or a 503 a
 * buyer retries, with or without a key.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Auditor } from './auditor.ts';
import { isOutcomeOpen, type QuestionOf, type Reply, wordOf } from './calls.ts';
import type { Client, Manners, Target } from './client.ts';
import type { KnownOrder } from './known-orders.ts';
import type { Random } from './seeded-random.ts';

/** A sale that buyers may choose. */
export interface Offer {
  readonly saleId: string;
  readonly units: number;
  readonly cap: number;
}

export interface Stage {
  readonly targets: readonly Target[];
  readonly client: Client;
  readonly auditor: Auditor;
  /** Grows as operators make sales. */
  readonly offers: Offer[];
  /** No new steps; those in progress are completed. */
  readonly stopped: AbortSignal;
}

const BUYER_STEP = {
  order: 42,
  order_with_key: 22,
  same_key_at_once: 8,
  several_at_once: 5,
  key_again: 5,
  key_with_other_quantity: 4,
  hang_up: 4,
  half_close: 4,
  read_page: 6,
  read_foreign: 3,
  read_made_up: 1,
} as const;

/** Sales that buyers still look at. */
const OFFERS_MAX = 10;

const TRIES_MAX = 5;

/** Milliseconds between two readings of an order that has not ended. */
const ASKS_AGAIN = { from: 20, below: 2_500 };

type OrderQuestion = QuestionOf<'order'>;

/** Buyers at work, `count` of them side by side. */
export class Buyers {
  readonly #stage: Stage;
  readonly #random: Random;
  readonly #pauseMs: number;
  /** Orders with a key that were accepted lately. */
  readonly #keyed: OrderQuestion[] = [];
  readonly #accepted: string[] = [];
  readonly #following = new Set<Promise<void>>();
  readonly #followed = new Set<string>();

  constructor(stage: Stage, random: Random, pauseMs: number) {
    this.#stage = stage;
    this.#random = random;
    this.#pauseMs = pauseMs;
  }

  async run(count: number): Promise<void> {
    await Promise.all(Array.from({ length: count }, (_, i) => this.#buyer(i)));
    await Promise.all(this.#following);
  }

  async #buyer(number: number): Promise<void> {
    const { stopped } = this.#stage;
    for (let step = 0; !stopped.aborted; step++) {
      const random = this.#random.fork(`${number}/${step}`);
      await pause(random.exponential(this.#pauseMs), stopped);
      if (stopped.aborted) return;
      await this.#step(random, number, step);
    }
  }

  async #step(random: Random, number: number, step: number): Promise<void> {
    const what = random.weighted(BUYER_STEP);
    const offer = this.#choose(random);
    // Some buyers are several people at once: this is what caps and keys are for.
    const buyerId = random.chance(0.2) ? `family-${random.integer(1, 12)}` : `buyer-${number}-${Math.floor(step / 12)}`;
    const quantity = random.integer(1, 3);
    const key = `key-${number}-${step}`;
    const order: OrderQuestion = { kind: 'order', saleId: offer.saleId, buyerId, quantity, key: null };
    switch (what) {
      case 'order':
        return this.#order(random, order);
      case 'order_with_key':
        return this.#order(random, { ...order, key });
      case 'same_key_at_once':
        return this.#order(random, { ...order, key }, random.integer(2, 5));
      case 'several_at_once':
        await Promise.all(
          Array.from({ length: random.integer(2, 4) }, (_, i) => this.#order(random.fork(`copy-${i}`), order)),
        );
        return;
      case 'hang_up':
        await this.#ask(random, random.chance(0.5) ? order : { ...order, key }, {
          hangUpAfterMs: random.exponential(6),
        });
        return;
      case 'half_close':
        await this.#ask(random, random.chance(0.5) ? order : { ...order, key }, { halfCloses: true });
        return;
      case 'key_again':
      case 'key_with_other_quantity': {
        const earlier = this.#keyed[Math.floor(random.next() * this.#keyed.length)];
        if (!earlier) return this.#order(random, { ...order, key });
        const other = what === 'key_again' ? earlier.quantity : (earlier.quantity % 3) + 1;
        return this.#order(random, { ...earlier, quantity: other });
      }
      case 'read_page':
        await this.#stage.client.ask(random.pick(this.#stage.targets), { kind: 'read_sale', saleId: offer.saleId });
        return;
      case 'read_foreign': {
        const orderId = this.#accepted[Math.floor(random.next() * this.#accepted.length)];
        if (orderId) await this.#read(random, orderId, `thief-${number}`);
        return;
      }
      case 'read_made_up':
        await this.#read(random, `${offer.saleId}-01ARZ3NDEKTSV4RRFFQ69G5FAV`, buyerId);
        return;
    }
  }

  /** The newest sales are looked at most. */
  #choose(random: Random): Offer {
    const offers = this.#stage.offers.slice(-OFFERS_MAX);
    const from = offers.length - 1 - Math.floor(random.next() ** 1.5 * offers.length);
    return offers[from] as Offer;
  }

  /** Orders until the outcome is known. */
  async #order(random: Random, asked: OrderQuestion, copies = 1): Promise<void> {
    for (let attempt = 1; attempt <= TRIES_MAX; attempt++) {
      const replies = await Promise.all(
        Array.from({ length: copies }, (_, i) => this.#ask(random.fork(`${attempt}/${i}`), asked)),
      );
      const open = replies.some((reply) => reply.how !== 'replied' || reply.status >= 500);
      // Without a key each retry is a further order: not all buyers risk it.
      const dares = asked.key !== null || random.chance(0.6);
      if (!open || !dares || this.#stage.stopped.aborted) return;
      await pause(random.between(100, 900), this.#stage.stopped);
      if (this.#stage.stopped.aborted) return;
    }
  }

  async #ask(random: Random, asked: OrderQuestion, manners?: Manners): Promise<Reply> {
    const { client, targets } = this.#stage;
    const reply = await client.ask(random.pick(targets), asked, manners);
    const id = reply.body.order_id;
    if (typeof id !== 'string') return reply;
    const accepted = wordOf(reply) === 'ok';
    if (accepted) remember(this.#accepted, id);
    if (accepted && asked.key !== null) remember(this.#keyed, asked);
    if ((accepted || isOutcomeOpen(reply)) && !this.#followed.has(id)) {
      this.#followed.add(id);
      const following = this.#follow(random.fork('follow'), id, asked.buyerId);
      this.#following.add(following);
      void following.finally(() => this.#following.delete(following));
    }
    return reply;
  }

  /** Reads the order until it has ended, and a few times more: its status must not change back. */
  async #follow(random: Random, orderId: string, buyerId: string): Promise<void> {
    const { stopped, auditor } = this.#stage;
    let missing = 0;
    for (let more = random.integer(0, 2); more >= 0; ) {
      await pause(Math.min(random.exponential(600) + ASKS_AGAIN.from, ASKS_AGAIN.below), stopped);
      if (stopped.aborted) return;
      const reply = await this.#read(random, orderId, buyerId);
      if (wordOf(reply) === 'ORDER_NOT_FOUND') missing += 1;
      // A buyer who does not know whether there is an order gives up after a while.
      const ended = auditor.orders.get(orderId)?.terminal != null;
      if (ended || missing > 3) more -= 1;
    }
  }

  #read(random: Random, orderId: string, buyerId: string): Promise<Reply> {
    const { client, targets } = this.#stage;
    return client.ask(random.pick(targets), { kind: 'read_order', orderId, buyerId });
  }
}

/**
 * Reads every accepted order until it has ended or its time is over.
 *
 * @param from when everything was up @param acceptedBefore only orders accepted before this
 * @returns those that did not end
 */
export async function awaitEnds(
  stage: Pick<Stage, 'targets' | 'client' | 'auditor'>,
  random: Random,
  from: number,
  signal: AbortSignal,
  acceptedBefore = Number.POSITIVE_INFINITY,
): Promise<KnownOrder[]> {
  const { client, targets, auditor } = stage;
  const { terminalWithinMs } = auditor.rules;
  for (;;) {
    const open = auditor.unfinished().filter((order) => order.acceptedAt < acceptedBefore);
    const late = open.filter((order) => performance.now() - Math.max(order.acceptedAt, from) > terminalWithinMs);
    if (open.length === 0 || late.length === open.length || signal.aborted) return late;
    for (let i = 0; i < open.length; i += 8) {
      const ask = ({ id, buyerId }: KnownOrder): Promise<Reply> =>
        client.ask(random.pick(targets), { kind: 'read_order', orderId: id, buyerId });
      await Promise.all(open.slice(i, i + 8).map(ask));
      if (signal.aborted) return late;
    }
    await pause(50, signal);
  }
}

/** Ends early, and without complaint, when the signal is raised. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => {});
}

/** Keeps the last hundred. */
function remember<Item>(list: Item[], item: Item): void {
  list.push(item);
  if (list.length > 100) list.shift();
}

/**
 * Random numbers from a seed (sfc32). A fork depends on the seed and its name only, so that one
 * buyer's decisions do not depend on the replies to another.
 */
import { createHash, randomInt } from 'node:crypto';

/** A seed of eight characters that can be typed. */
export function freshSeed(): string {
  return randomInt(36 ** 8)
    .toString(36)
    .padStart(8, '0');
}

export class Random {
  readonly #path: string;
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  constructor(path: string) {
    this.#path = path;
    const hash = createHash('sha256').update(path).digest();
    [this.#a, this.#b, this.#c, this.#d] = [0, 4, 8, 12].map((at) => hash.readInt32LE(at)) as [
      number,
      number,
      number,
      number,
    ];
  }

  /** A stream of its own, always the same for the same name. */
  fork(name: string | number): Random {
    return new Random(`${this.#path}/${name}`);
  }

  /** From 0 up to, and without, 1. */
  next(): number {
    const sum = (this.#a + this.#b + this.#d) | 0;
    this.#d = (this.#d + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum;
    return (sum >>> 0) / 2 ** 32;
  }

  between(from: number, below: number): number {
    return from + this.next() * (below - from);
  }

  /** A whole number, both ends included. */
  integer(from: number, to: number): number {
    return from + Math.floor(this.next() * (to - from + 1));
  }

  chance(part: number): boolean {
    return this.next() < part;
  }

  pick<Item>(items: readonly Item[]): Item {
    const item = items[Math.floor(this.next() * items.length)];
    if (item === undefined) throw new Error('nothing to pick from');
    return item;
  }

  /** One of the names, each as often as its weight says. */
  weighted<Name extends string>(weights: Readonly<Record<Name, number>>): Name {
    const entries = Object.entries(weights) as [Name, number][];
    let left = this.next() * entries.reduce((sum, [, weight]) => sum + weight, 0);
    for (const [name, weight] of entries) {
      left -= weight;
      if (left < 0) return name;
    }
    return (entries.at(-1) as [Name, number])[0];
  }

  /** Pauses between independent events have this distribution. */
  exponential(mean: number): number {
    return -Math.log(1 - this.next()) * mean;
  }
}

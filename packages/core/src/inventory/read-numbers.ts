/** Reads the numbers of sales. Reads of one turn of the event loop share a script call. */
import type { StockNumbers } from '../domain/sale.ts';
import type { Keys } from './keys.ts';
import type { RunScript } from './lua-script.ts';

/** Sales in a call: it blocks Redis for 0.2 ms. */
export const READS_MAX = 100;

export interface FoundNumbers {
  /** Redis' clock, ms since 1970. */
  readonly now: number;
  /** At that instant; null if there is no open inventory. */
  readonly numbers: StockNumbers | null;
  /** Whether there is an inventory, open or closed. */
  readonly exists: boolean;
}

interface Waiting {
  readonly saleId: string;
  resolve(found: FoundNumbers): void;
  reject(error: unknown): void;
}

/** @param max sales in a call */
export function createNumbersReader(
  { run, keys }: { run: RunScript; keys: Keys },
  max: number,
): (saleId: string) => Promise<FoundNumbers> {
  let waiting: Waiting[] = [];

  async function call(some: readonly Waiting[]): Promise<void> {
    try {
      const inventory = some.map(({ saleId }) => keys.sale(saleId).inventory);
      const [, now, found] = await run('read-numbers', { inventory });
      for (const [i, { resolve }] of some.entries()) resolve(decode(Number(now), (found as unknown[][])[i] ?? []));
    } catch (error) {
      for (const { reject } of some) reject(error);
    }
  }

  function callAll(): void {
    const all = waiting;
    waiting = [];
    for (let at = 0; at < all.length; at += max) void call(all.slice(at, at + max));
  }

  return (saleId) =>
    new Promise((resolve, reject) => {
      if (waiting.push({ saleId, resolve, reject }) === 1) process.nextTick(callAll);
    });
}

function decode(now: number, [word, ...units]: unknown[]): FoundNumbers {
  if (word !== 'numbers') return { now, numbers: null, exists: word === 'recovering' };
  const [allotment, available, reserved, sold] = units.map(Number) as [number, number, number, number];
  return { now, numbers: { allotment, available, reserved, sold }, exists: true };
}

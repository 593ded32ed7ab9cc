/** A whole drop: so many units, from the first request to the last row in the ledger, while the crowd goes on asking. */
import type { BenchSystem } from './bench-system.ts';
import { closedLoop } from './closed-loop.ts';
import { type Spread, spreadOf } from './spread.ts';

export interface DropResult {
  readonly units: number;
  /** Orders a second, first request to last row. */
  readonly rate: Spread;
  /** Divided by the bare server's requests a second in the same round. */
  readonly ratio: Spread;
}

/** Seconds after which a drop has failed. */
const LONGEST_S = 60;

export async function wholeDrops(
  system: BenchSystem,
  { units, rounds, seconds, connections }: { units: number; rounds: number; seconds: number; connections: number },
): Promise<DropResult> {
  const rates: number[] = [];
  const ratios: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const bare = await closedLoop({ url: system.bareUrl, saleId: 'bench', connections, seconds });
    const saleId = await system.makeSale({ units });
    const over = new AbortController();
    const startedAt = performance.now();
    const crowd = closedLoop({ url: system.url, saleId, connections, seconds: LONGEST_S, signal: over.signal });
    while ((await system.soldInLedger(saleId)) < units) {
      if (performance.now() - startedAt > LONGEST_S * 1_000) break;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    const rate = units / ((performance.now() - startedAt) / 1_000);
    over.abort();
    await crowd;
    const sold = await system.soldInLedger(saleId);
    if (sold !== units) throw new Error(`${sold} of ${units} units were in the ledger after ${LONGEST_S} s`);
    rates.push(rate);
    ratios.push(rate / bare.rate);
  }
  return { units, rate: spreadOf(rates), ratio: spreadOf(ratios) };
}

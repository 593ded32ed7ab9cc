/**
 * Closed loops in turns: bare, each kind of order, bare again, and so on. A ratio is always to the mean of the bare runs before and after, so
 * that a machine whose speed drifts does not decide.
 */
import type { BenchSystem, Part } from './bench-system.ts';
import { type ClosedLoop, closedLoop, type Mode } from './closed-loop.ts';
import { memoryOf } from './cpu-time.ts';
import { type Spread, spreadOf } from './spread.ts';

export type Kind = 'accepted' | 'sold_out' | 'limited' | 'replayed';

interface KindResult {
  /** Requests a second, divided by the bare server's of the same round. */
  readonly ratio: Spread;
  readonly rate: Spread;
  readonly p50: Spread;
  readonly p99: Spread;
  /** CPU time of each part for a request, µs. */
  readonly cpuUs: Record<Part, number>;
}

export interface ClosedResult {
  readonly connections: number;
  readonly bare: Pick<KindResult, 'rate' | 'p50' | 'p99'>;
  readonly kinds: Partial<Record<Kind, KindResult>>;
  /** Part of the accepted orders that were in the ledger as the load ended, and ms until all were settled. */
  readonly inLedgerAtEnd: Spread;
  readonly settledMs: Spread;
  /** CPU time of wrk for a request, µs: what the machine spends on asking. */
  readonly generatorUs: Spread;
  /** Most resident memory of the API process so far, bytes. */
  readonly apiMemoryBytes: number;
  /** The bare server's. */
  readonly bareMemoryBytes: number;
}

interface Sample {
  readonly loop: ClosedLoop;
  readonly cpuMs: Record<Part, number>;
}

const modes: Record<Kind, Mode> = { accepted: 'fresh', sold_out: 'fresh', limited: 'one-buyer', replayed: 'replays' };
/** What nearly all of the requests must have been refused with; null: nothing may be refused. */
const refusedWith: Record<Kind, string | null> = {
  accepted: null,
  sold_out: 'SOLD_OUT',
  limited: 'BUYER_RATE_LIMITED',
  replayed: null,
};

export async function closedRounds(
  system: BenchSystem,
  options: { connections: number; rounds: number; seconds: number; kinds: readonly Kind[] },
): Promise<ClosedResult> {
  const { connections, rounds, seconds, kinds } = options;
  const soldOut = await system.makeSale({ units: 1 });
  const open = await system.makeSale();
  const bare: ClosedLoop[] = [];
  const samples = new Map<Kind, Sample[]>(kinds.map((kind) => [kind, []]));
  const [inLedger, settledMs]: [number[], number[]] = [[], []];

  const askBare = async (): Promise<void> =>
    void bare.push(await closedLoop({ url: system.bareUrl, saleId: 'bench', connections, seconds }));

  await askBare();
  for (let round = 0; round < rounds; round++) {
    for (const kind of kinds) {
      const saleId = kind === 'sold_out' ? soldOut : kind === 'accepted' ? await system.makeSale() : open;
      const code = refusedWith[kind];
      const refusedBefore = code ? await system.refusals(code) : 0;
      const before = system.cpu();
      const loop = await closedLoop({
        url: system.url,
        saleId,
        connections,
        seconds,
        mode: modes[kind],
        ...(kind === 'replayed' || kind === 'limited' ? { run: kind } : {}),
      });
      if (kind === 'accepted') {
        inLedger.push((await system.soldInLedger(saleId)) / (loop.requests - loop.refused));
        settledMs.push(await system.settled(saleId));
      }
      const after = system.cpu();
      mustBe(kind, loop, code ? (await system.refusals(code)) - refusedBefore : 0);
      samples.get(kind)?.push({ loop, cpuMs: subtract(after, before) });
    }
    await askBare();
  }
  const bareOf = (round: number): number =>
    ((bare[round] as ClosedLoop).rate + (bare[round + 1] as ClosedLoop).rate) / 2;
  const of = (loops: readonly ClosedLoop[], value: (loop: ClosedLoop) => number): Spread => spreadOf(loops.map(value));
  const results = [...samples].map(([kind, list]): [Kind, KindResult] => {
    const loops = list.map((sample) => sample.loop);
    return [
      kind,
      {
        ratio: spreadOf(loops.map((loop, i) => loop.rate / bareOf(i))),
        rate: of(loops, (loop) => loop.rate),
        p50: of(loops, (loop) => loop.p50),
        p99: of(loops, (loop) => loop.p99),
        cpuUs: cpuPerRequest(list),
      },
    ];
  });
  return {
    connections,
    bare: { rate: of(bare, (loop) => loop.rate), p50: of(bare, (loop) => loop.p50), p99: of(bare, (loop) => loop.p99) },
    kinds: Object.fromEntries(results),
    inLedgerAtEnd: spreadOf(inLedger),
    settledMs: spreadOf(settledMs),
    generatorUs: of(bare, (loop) => (loop.generatorCpuMs * 1_000) / loop.requests),
    apiMemoryBytes: memoryOf(system.pid('api-1')).peak,
    bareMemoryBytes: memoryOf(system.pid('bare')).peak,
  };
}

/**
 * @param withCode requests that were refused with the code that is to be measured
 * @throws where the replies were others than those
 */
function mustBe(kind: Kind, { requests, refused, broken }: ClosedLoop, withCode: number): void {
  if (broken > 0) throw new Error(`${kind}: ${broken} connections broke or timed out`);
  const code = refusedWith[kind];
  // Whoever is the first to be limited, or to ask a sale that nobody remembers, is one of many thousands.
  if (code && withCode < requests * 0.99) throw new Error(`${kind}: ${withCode} of ${requests} were told ${code}`);
  if (!code && refused > 0) throw new Error(`${kind}: ${refused} of ${requests} were refused`);
}

function subtract(after: Record<Part, number>, before: Record<Part, number>): Record<Part, number> {
  return {
    api: after.api - before.api,
    worker: after.worker - before.worker,
    redis: after.redis - before.redis,
    postgres: after.postgres - before.postgres,
  };
}

function cpuPerRequest(list: readonly Sample[]): Record<Part, number> {
  const requests = list.reduce((sum, { loop }) => sum + loop.requests, 0);
  const us = (part: Part): number => (list.reduce((sum, { cpuMs }) => sum + cpuMs[part], 0) * 1_000) / requests;
  return { api: us('api'), worker: us('worker'), redis: us('redis'), postgres: us('postgres') };
}

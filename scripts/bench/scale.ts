/** More processes on the same two cores: what an order costs then. More throughput is not to be seen here, more cost would be. */
import { BenchSystem, type Part } from './bench-system.ts';
import { closedRounds } from './closed-rounds.ts';

export interface ScaleResult {
  readonly apis: number;
  readonly workers: number;
  /** µs of CPU time for an accepted order. */
  readonly cpuUs: Record<Part, number>;
  readonly ratio: number;
}

export async function scaleOut(
  steps: readonly { apis: number; workers: number }[],
  options: { rounds: number; seconds: number },
): Promise<ScaleResult[]> {
  const results: ScaleResult[] = [];
  for (const step of steps) {
    const system = await BenchSystem.start(step);
    try {
      // Until it is compiled, in each of the processes.
      await closedRounds(system, { rounds: 1, seconds: options.seconds, connections: 200, kinds: ['accepted'] });
      const found = await closedRounds(system, { ...options, connections: 200, kinds: ['accepted'] });
      const accepted = found.kinds.accepted;
      if (accepted) results.push({ ...step, cpuUs: accepted.cpuUs, ratio: accepted.ratio.median });
    } finally {
      await system.stop();
    }
  }
  return results;
}

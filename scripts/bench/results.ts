/** What a run of the bench has found: the machine-readable result, docs/measurements/speed.json. */
import type { ClosedResult } from './closed-rounds.ts';
import type { ClusterResult } from './cluster.ts';
import type { MemoryResult, RedisCost, SizeResult } from './cost.ts';
import type { OpenResult, PressureResult } from './open-rounds.ts';
import type { ScaleResult } from './scale.ts';
import type { DropResult } from './whole-drop.ts';

export interface BenchResults {
  readonly at: string;
  readonly commit: string;
  readonly machine: string;
  /** For example "redis 7.0.15". */
  readonly servers: readonly string[];
  readonly generator: string;
  readonly fsync: string;
  readonly command: string;
  readonly closed: readonly ClosedResult[];
  readonly drop: DropResult;
  readonly open: readonly OpenResult[];
  readonly pressure: PressureResult;
  readonly sizes: readonly SizeResult[];
  readonly redis: RedisCost;
  readonly memory: MemoryResult;
  readonly scale: readonly ScaleResult[];
  readonly cluster: readonly ClusterResult[];
  /** ms from the start of an API process until it was ready. */
  readonly startMs: number;
  readonly constants: Constants;
}

/** What `npm run capacity` reckons with. */
export interface Constants {
  readonly api_us_per_order: number;
  readonly worker_us_per_order: number;
  readonly redis_us_per_order: number;
  readonly postgres_us_per_order: number;
  readonly api_us_per_refusal: number;
  readonly redis_bytes_per_live_order: number;
  readonly redis_bytes_per_held_buyer: number;
  readonly aof_bytes_per_order: number;
  readonly ledger_bytes_per_order: number;
}

export function constantsOf(found: Omit<BenchResults, 'constants'>): Constants {
  const busiest = found.closed.find(({ connections }) => connections === 200);
  const accepted = busiest?.kinds.accepted?.cpuUs;
  const round = (value: number | undefined): number => Number((value ?? 0).toFixed(1));
  return {
    api_us_per_order: round(accepted?.api),
    worker_us_per_order: round(accepted?.worker),
    redis_us_per_order: round(accepted?.redis),
    postgres_us_per_order: round(accepted?.postgres),
    api_us_per_refusal: round(busiest?.kinds.sold_out?.cpuUs.api),
    redis_bytes_per_live_order: Math.round(found.memory.perLiveOrder),
    redis_bytes_per_held_buyer: Math.round(found.memory.perConfirmedOrder),
    aof_bytes_per_order: Math.round(found.redis.aofBytes),
    ledger_bytes_per_order: Math.round(found.redis.ledgerBytes),
  };
}

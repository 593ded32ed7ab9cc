/** Types of a load test by k6 or wrk, and of its result. */
import { readFileSync } from 'node:fs';

export interface Scenario {
  readonly name: string;
  /** Concurrent connections. */
  readonly users: number;
  readonly seconds: number;
  /** Ends after this many orders instead, if the tool supports it. */
  readonly orders?: number | undefined;
  /** Bound of the 95th percentile, ms; generous, because machines differ. */
  readonly p95Ms: number;
  /** Threads, connections and timeout of the source document's wrk command line. */
  readonly wrk: readonly string[];
}

export interface Crowd {
  readonly seconds: number;
  /** Orders that were answered. */
  readonly requests: number;
  readonly accepted: number;
  /** Replies by code. */
  readonly refused: Readonly<Record<string, number>>;
  /** Replies that are neither 200 nor a 400 or 429 with a code. */
  readonly unexpected: number;
  /** Orders without a reply: each may hold a unit. */
  readonly unanswered: number;
  readonly latencyMs: { readonly p50: number; readonly p95: number; readonly p99: number; readonly max: number };
  /** Bounds that the tool reported as exceeded. */
  readonly failures: readonly string[];
}

export interface CrowdTool {
  readonly name: string;
  /** How to install it. */
  readonly install: string;
  isInstalled(): Promise<boolean>;
  /** @throws Error with the tool's output if it gave no result */
  run(run: {
    /** The project's folder. */
    readonly root: string;
    readonly scenario: Scenario;
    readonly saleId: string;
    readonly baseUrl: string;
    readonly signal: AbortSignal;
  }): Promise<Crowd>;
}

/** @param file k6/scenarios.json, which k6/scenarios.ts reads as well */
export function readScenarios(file: string): Map<string, Scenario> {
  const parsed = JSON.parse(readFileSync(file, 'utf8')) as Record<string, Omit<Scenario, 'name'>>;
  return new Map(Object.entries(parsed).map(([name, scenario]) => [name, { name, ...scenario }]));
}

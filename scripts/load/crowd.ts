/** What a crowd was answered, whichever tool played it. */
import type { Operator } from './operator.ts';
import type { Scenario } from './scenarios.ts';

export interface Crowd {
  readonly seconds: number;
  /** Orders that were answered. */
  readonly requests: number;
  readonly accepted: number;
  /** Times that each code was given. */
  readonly refused: Readonly<Record<string, number>>;
  /** Replies that are neither 200 nor a 400 or 429 with a code. */
  readonly unlawful: number;
  /** Orders that were sent and whose reply nobody saw: each may hold a unit. */
  readonly unanswered: number;
  readonly latencyMs: { readonly p50: number; readonly p95: number; readonly p99: number; readonly max: number };
  /** What the tool itself finds wrong. */
  readonly failures: readonly string[];
}

interface CrowdRun {
  /** The project's folder. */
  readonly root: string;
  readonly scenario: Scenario;
  readonly saleId: string;
  readonly operator: Operator;
  readonly signal: AbortSignal;
}

export interface CrowdTool {
  readonly name: string;
  /** Sentence that says how to get it. */
  readonly install: string;
  /** Whether it can end after a number of orders. */
  readonly countsOrders: boolean;
  isInstalled(): Promise<boolean>;
  /** @throws Error with what the tool said, when it gave no result */
  run(run: CrowdRun): Promise<Crowd>;
}

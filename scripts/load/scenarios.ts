/** The scenarios, which k6/scenarios.js reads from the same file. */
import { readFileSync } from 'node:fs';

export interface Scenario {
  readonly name: string;
  /** Connections that order at the same time. */
  readonly users: number;
  readonly seconds: number;
  /** Ends after so many orders instead, where the tool can count them. */
  readonly orders?: number | undefined;
  /** Milliseconds within which 95 of 100 orders are answered; generous, because machines differ. */
  readonly p95Ms: number;
  /** Threads, connections and timeout of the source document's command line for wrk. */
  readonly wrk: readonly string[];
}

export function readScenarios(file: string): Map<string, Scenario> {
  const parsed = JSON.parse(readFileSync(file, 'utf8')) as Record<string, Omit<Scenario, 'name'>>;
  return new Map(Object.entries(parsed).map(([name, scenario]) => [name, { name, ...scenario }]));
}

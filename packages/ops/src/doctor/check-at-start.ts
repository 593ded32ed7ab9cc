/** The doctor at the start of a process in production: logs each fault and refuses weak secrets. */
import { type Environment, EnvironmentError } from '@flash-sale/core/config/environment.ts';
import type { Logger } from 'pino';
import { checkFacts, readFacts } from './examine.ts';

/** Short, so that the start is not delayed. */
const TIMEOUT_MS = 1_500;
const ROUND_TRIPS = 5;

/** @throws EnvironmentError if a secret is weak */
export async function checkAtStart(service: 'api' | 'worker', settings: Environment, log: Logger): Promise<void> {
  const facts = await readFacts({ settings, folders: [], timeoutMs: TIMEOUT_MS, roundTrips: ROUND_TRIPS });
  for (const { code, outcome, found, why, fix } of checkFacts(facts, service)) {
    if (outcome === 'ok') continue;
    if (code === 'SECRETS') throw new EnvironmentError(`${found}. Production refuses it. ${why} Set ${fix}`);
    log.warn({ check: code, outcome, found, why, fix }, 'doctor: check failed');
  }
}

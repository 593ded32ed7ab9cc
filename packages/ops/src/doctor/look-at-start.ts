/** The doctor's look as a process starts in production: what is cheap to see, a line for each fault, and a refusal where it would let strangers in. */

import { type Environment, EnvironmentError } from '@flash-sale/core/config/environment.ts';
import type { Logger } from 'pino';
import { LOOK_AT_START_MS, ROUND_TRIPS_AT_START } from './bounds.ts';
import type { CheckCode } from './checks.ts';
import { collectFacts } from './collect-facts.ts';
import { judgeFacts } from './judge-facts.ts';

/**
 * What a process does not start with, beyond what the settings and the two checks of servers refuse. All else can be meant so, or is no
 * worse for a sale than a process that does not run.
 */
const REFUSED: ReadonlySet<CheckCode> = new Set(['JWT_SECRET', 'ADMIN_TOKEN']);

/** @throws EnvironmentError where it must not run like this */
export async function lookAtStart(process_: 'api' | 'worker', settings: Environment, log: Logger): Promise<void> {
  const looks = { lookMs: LOOK_AT_START_MS, roundTrips: ROUND_TRIPS_AT_START, migrations: false };
  const findings = judgeFacts(await collectFacts({ settings, folders: [], ...looks }), process_);
  const refused = findings.find(({ code, outcome }) => outcome === 'wrong' && REFUSED.has(code));
  if (refused) {
    throw new EnvironmentError(
      `${refused.code} is refused in production (${refused.found}). ${refused.why} Set ${refused.mend}`,
    );
  }
  for (const { code, outcome, found, why, mend } of findings) {
    if (outcome !== 'ok') log.warn({ check: code, outcome, found, why, mend }, 'the doctor finds fault');
  }
}

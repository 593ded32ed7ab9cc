/**
 * npm run doctor -- [--json]
 *
 * Checks the production checklist against settings, machine, Redis and PostgreSQL. Changes nothing. Exit code 0: all is well; 1:
 * something is wrong, or a server did not answer; 2: nothing is wrong, but there are warnings.
 */
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { EnvironmentError } from '@flash-sale/core/config/environment.ts';
import { findSettings } from '@flash-sale/launcher/running-system.ts';
import { LOOK_MS, ROUND_TRIPS } from '@flash-sale/ops/doctor/bounds.ts';
import { exitCodeOf, type Finding, ok, reportOf, wrong } from '@flash-sale/ops/doctor/checks.ts';
import { collectFacts } from '@flash-sale/ops/doctor/collect-facts.ts';
import { judgeFacts } from '@flash-sale/ops/doctor/judge-facts.ts';
import { printReport } from '@flash-sale/ops/doctor/print-report.ts';
import { readArguments } from './read-arguments.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

try {
  const { json } = readArguments(
    import.meta.url,
    { options: { json: { type: 'boolean', default: false } } },
    { wrongCode: 1 },
  ).values;
  const report = reportOf(await examine());
  // Exit at once: a silent server would keep its connection open for some seconds.
  process.stdout.write(json ? `${JSON.stringify(report, null, 2)}\n` : printReport(report), () =>
    process.exit(exitCodeOf(report)),
  );
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = 1;
}

async function examine(): Promise<Finding[]> {
  try {
    const { settings: found, isRunning, changed } = findSettings(root, process.env);
    const { environment: settings, dataFolder } = found;
    const looks = { lookMs: LOOK_MS, roundTrips: ROUND_TRIPS, migrations: true };
    const facts = await collectFacts({ settings, folders: [dataFolder], ...looks });
    const but = changed.length > 0 ? `, but for ${changed.join(', ')} as set here` : '';
    const whose = isRunning
      ? `those of the system that runs on ${dataFolder}${but}`
      : 'those of this terminal and of .env';
    return [ok('SETTINGS', `all can be read; ${whose}`), ...judgeFacts(facts, 'all')];
  } catch (error) {
    if (!(error instanceof EnvironmentError)) throw error;
    // Without settings there is nothing to look at.
    return error.message
      .split('\n')
      .map((line) => wrong('SETTINGS', line, 'correct it in the environment, or in .env'));
  }
}

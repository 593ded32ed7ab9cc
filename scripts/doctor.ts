/**
 * npm run doctor -- [--json | --list]
 *
 * Checks the settings, this machine, Redis and PostgreSQL against the production checklist. It
 * changes nothing. --list prints all checks.
 *
 * Exit code 0: everything is ok; 1: errors, or a server could not be read; 2: warnings only.
 */
import { EnvironmentError } from '@flash-sale/core/config/environment.ts';
import { findSettings } from '@flash-sale/launcher/running-system.ts';
import { CODES, checkFacts, finding, readFacts } from '@flash-sale/ops/doctor/examine.ts';
import { exitCodeOf, type Finding, ok, printReport, reportOf, wrong } from '@flash-sale/ops/doctor/report.ts';
import { root, runScript, say } from './command.ts';

/** Per server. */
const TIMEOUT_MS = 5_000;
/** Enough for a median. */
const ROUND_TRIPS = 25;

const options = { json: { type: 'boolean' }, list: { type: 'boolean' } } as const;

await runScript(import.meta.url, 1, { options }, async ({ values: { json, list } }) => {
  if (list) {
    for (const [code, why] of CODES) say(`${code.padEnd(22)}${why}`);
    return 0;
  }
  const report = reportOf(await examine());
  const text = json ? `${JSON.stringify(report, null, 2)}\n` : printReport(report);
  // Exit at once: connections to servers that do not answer close only after some seconds.
  process.stdout.write(text, () => process.exit(exitCodeOf(report)));
  return exitCodeOf(report);
});

async function examine(): Promise<Finding[]> {
  try {
    const { settings: found, isRunning, changed } = findSettings(root, process.env);
    const { environment: settings, dataFolder } = found;
    const facts = await readFacts({ settings, folders: [dataFolder], timeoutMs: TIMEOUT_MS, roundTrips: ROUND_TRIPS });
    const except = changed.length > 0 ? `, except ${changed.join(', ')}, which is set here` : '';
    const whose = isRunning
      ? `those of the system that runs on ${dataFolder}${except}`
      : 'those of this terminal and of .env';
    return [finding('SETTINGS', ok(`all are valid: ${whose}`)), ...checkFacts(facts, 'all')];
  } catch (error) {
    if (!(error instanceof EnvironmentError)) throw error;
    return error.message
      .split('\n')
      .map((line) => finding('SETTINGS', wrong(line, 'Correct it in the environment or in .env')));
  }
}

/** Runs k6/scenarios.ts. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCommand } from '@flash-sale/launcher/run-command.ts';
import type { Crowd, CrowdTool } from './crowd.ts';

/** Milliseconds added to the scenario, for start and graceful stop. */
const GRACE_MS = 180_000;
/** k6's exit code if a threshold failed; the result names it. */
const THRESHOLDS_FAILED = 99;

export const k6: CrowdTool = {
  name: 'k6',
  install: 'k6 1.0 or newer: https://grafana.com/docs/k6/latest/set-up/install-k6/',
  isInstalled: async () => !(await runCommand('k6', ['version'])).failed,

  async run({ root, scenario, saleId, baseUrl, signal }) {
    const folder = mkdtempSync(join(tmpdir(), 'flash-sale-load-'));
    const resultFile = join(folder, 'result.json');
    const env = {
      SCENARIO: scenario.name,
      DURATION_S: `${scenario.seconds}`,
      ORDERS: `${scenario.orders ?? 0}`,
      SALE_ID: saleId,
      BASE_URL: baseUrl,
      RESULT_FILE: resultFile,
    };
    try {
      const {
        exitCode,
        stdout = '',
        stderr,
      } = await runCommand('k6', ['run', '--quiet', join(root, 'k6', 'scenarios.ts')], {
        cancelSignal: signal,
        timeout: scenario.seconds * 1000 + GRACE_MS,
        env,
      });
      signal.throwIfAborted();
      if (exitCode !== 0 && exitCode !== THRESHOLDS_FAILED)
        throw new Error(`k6 ended with ${exitCode}.\n${stdout}${stderr}`);
      const crowd = JSON.parse(readFileSync(resultFile, 'utf8')) as Crowd;
      return exitCode !== 0 && crowd.failures.length === 0
        ? { ...crowd, failures: ['a threshold of k6 failed'] }
        : crowd;
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
};

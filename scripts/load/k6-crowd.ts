/** A crowd played by k6; k6/scenarios.js says what it does. Its thresholds count, as does its own end check. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCommand } from '@flash-sale/launcher/run-command.ts';
import type { Crowd, CrowdTool } from './crowd.ts';

/** Milliseconds on top of the scenario: k6's graceful stop, its end check, its start. */
const GRACE_MS = 180_000;

/** Exit code of k6 when a threshold failed: there is a result, and it says which. */
const THRESHOLDS_FAILED = 99;

interface K6Result extends Omit<Crowd, 'unlawful' | 'unanswered'> {
  readonly unexpected: number;
}

export const k6: CrowdTool = {
  name: 'k6',
  install:
    'k6: https://grafana.com/docs/k6/latest/set-up/install-k6/ ("brew install k6", "winget install k6", or a package for Linux).',
  countsOrders: true,
  isInstalled: async () => (await runCommand('k6', ['version'])).code === 0,

  async run({ root, scenario, saleId, operator, signal }) {
    const folder = mkdtempSync(join(tmpdir(), 'flash-sale-load-'));
    const resultFile = join(folder, 'result.json');
    try {
      const { code, stdout, stderr } = await runCommand('k6', ['run', '--quiet', join(root, 'k6', 'scenarios.js')], {
        signal,
        timeoutMs: scenario.seconds * 1000 + GRACE_MS,
        env: {
          ...process.env,
          SCENARIO: scenario.name,
          DURATION_S: `${scenario.seconds}`,
          ...(scenario.orders === undefined ? { ORDERS: '0' } : {}),
          SALE_ID: saleId,
          BASE_URL: operator.baseUrl,
          // By the environment, not by an argument: arguments are seen by everybody on the machine.
          ADMIN_TOKEN: operator.token,
          RESULT_FILE: resultFile,
        },
      });
      signal.throwIfAborted();
      if (code !== 0 && code !== THRESHOLDS_FAILED) throw new Error(`k6 ended with ${code}.\n${stdout}${stderr}`);
      const { unexpected, ...result } = JSON.parse(readFileSync(resultFile, 'utf8')) as K6Result;
      const failures = code !== 0 && result.failures.length === 0 ? ['a threshold of k6 failed'] : result.failures;
      // k6 lets every order end; one without a reply is among the unexpected.
      return { ...result, failures, unlawful: unexpected, unanswered: 0 };
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
};

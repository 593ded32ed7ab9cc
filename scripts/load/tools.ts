/** The tools that send a crowd: k6 with k6/scenarios.ts, wrk with k6/wrk-post-order.lua. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCommand } from '@flash-sale/launcher/run-command.ts';
import type { Crowd, CrowdTool } from './crowd.ts';

/** Milliseconds added to the scenario, to start, to stop gracefully and to report. */
const GRACE_MS = 180_000;
/** k6's exit code if a threshold failed; the result names it. */
const THRESHOLDS_FAILED = 99;

const k6: CrowdTool = {
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
    const bounds = { cancelSignal: signal, timeout: scenario.seconds * 1000 + GRACE_MS };
    try {
      const args = ['run', '--quiet', join(root, 'k6', 'scenarios.ts')];
      const { exitCode, stdout, stderr } = await runCommand('k6', args, { ...bounds, env });
      signal.throwIfAborted();
      if (exitCode !== 0 && exitCode !== THRESHOLDS_FAILED)
        throw new Error(`k6 ended with ${exitCode}.\n${stdout}${stderr}`);
      const crowd = JSON.parse(readFileSync(resultFile, 'utf8')) as Crowd;
      const isUnnamed = exitCode !== 0 && crowd.failures.length === 0;
      return isUnnamed ? { ...crowd, failures: ['a threshold of k6 failed'] } : crowd;
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
};

/** With the command lines of the source document. */
const wrk: CrowdTool = {
  name: 'wrk',
  install: 'wrk: https://github.com/wg/wrk ("apt install wrk", "brew install wrk").',
  // Its exit code for --version is 1.
  isInstalled: async () => (await runCommand('wrk', ['--version'])).code !== 'ENOENT',

  async run({ root, scenario, saleId, baseUrl, signal }) {
    const script = join(root, 'k6', 'wrk-post-order.lua');
    const url = `${baseUrl}/api/flash-sales/${saleId}/order`;
    const args = [...scenario.wrk, `-d${scenario.seconds}s`, '-s', script, url];
    const bounds = { cancelSignal: signal, timeout: scenario.seconds * 1000 + GRACE_MS };
    const { exitCode, stdout = '', stderr } = await runCommand('wrk', args, bounds);
    signal.throwIfAborted();
    const line = /^result: (\{.*\})$/m.exec(stdout)?.[1];
    if (exitCode !== 0 || line === undefined) throw new Error(`wrk ended with ${exitCode}.\n${stdout}${stderr}`);
    const crowd = JSON.parse(line) as Omit<Crowd, 'failures'> & { broken: number };
    const failures = [
      ...(crowd.broken > 0 ? [`${crowd.broken} connections broke`] : []),
      ...(crowd.latencyMs.p95 < scenario.p95Ms ? [] : [`p95 is not below ${scenario.p95Ms} ms`]),
    ];
    return { ...crowd, failures };
  },
};

/** The first one is preferred. */
export const tools: Record<string, CrowdTool> = { k6, wrk };

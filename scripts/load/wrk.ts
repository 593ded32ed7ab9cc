/** Runs k6/wrk/wrk-post-order.lua with the source document's command lines. */
import { join } from 'node:path';
import { runCommand } from '@flash-sale/launcher/run-command.ts';
import type { Crowd, CrowdTool } from './crowd.ts';

/** Milliseconds added to the scenario: hundreds of threads take time to start and to report. */
const GRACE_MS = 60_000;

export const wrk: CrowdTool = {
  name: 'wrk',
  install: 'wrk: https://github.com/wg/wrk ("apt install wrk", "brew install wrk").',
  // Its exit code for --version is 1.
  isInstalled: async () => (await runCommand('wrk', ['--version'])).code !== 'ENOENT',

  async run({ root, scenario, saleId, baseUrl, signal }) {
    const {
      exitCode,
      stdout = '',
      stderr,
    } = await runCommand(
      'wrk',
      [
        ...scenario.wrk,
        `-d${scenario.seconds}s`,
        '-s',
        join(root, 'k6', 'wrk', 'wrk-post-order.lua'),
        `${baseUrl}/api/flash-sales/${saleId}/order`,
      ],
      { cancelSignal: signal, timeout: scenario.seconds * 1000 + GRACE_MS },
    );
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

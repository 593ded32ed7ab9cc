/** How the registry's report on the production packages is judged. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { root } from './source-files.ts';

const run = promisify(execFile);
const nodeRuns = (code: string) => run(process.execPath, ['--input-type=module', '-e', code], { cwd: root });

test.each([
  [
    'high: 1',
    '{"metadata":{"vulnerabilities":{"moderate":2,"high":1,"critical":0}}}',
    1,
    'known faults: 0 critical, 1 high',
  ],
  ['critical: 1', '{"metadata":{"vulnerabilities":{"critical":1}}}', 1, '1 critical, 0 high'],
  ['moderate: 3', '{"metadata":{"vulnerabilities":{"moderate":3}}}', 0, 'audited: 0 critical, 0 high, 3 moderate'],
  [
    'an error of the registry',
    '{"error":{"code":"ERR_PNPM_AUDIT_BAD_RESPONSE"}}',
    0,
    'not audited: the registry cannot',
  ],
  ['nothing', '', 0, 'not audited: the registry cannot'],
])('an audit that says %s', async (_what, report, code, said) => {
  const { stdout } = await nodeRuns(
    `import { judgeAudit } from './scripts/audit-packages.mjs'; console.log(JSON.stringify(judgeAudit(${JSON.stringify(report)})))`,
  );
  expect(JSON.parse(stdout)).toEqual({ code, said: expect.stringContaining(said) });
});

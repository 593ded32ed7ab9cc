/** What is known of the packages that run in production: the bill of materials, and how the registry's word on them is taken. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { root } from './source-files.ts';

const run = promisify(execFile);
const nodeRuns = (code: string) => run(process.execPath, ['--input-type=module', '-e', code], { cwd: root });

test('the bill of materials is CycloneDX, and has each package that API and worker name, with its hash', async () => {
  const { stdout } = await run(process.execPath, ['scripts/sbom.mjs'], { cwd: root, maxBuffer: 1 << 26 });
  const bill = JSON.parse(stdout) as {
    bomFormat: string;
    specVersion: string;
    components: { purl: string; 'bom-ref': string; externalReferences?: { hashes?: { alg: string }[] }[] }[];
    dependencies: { ref: string }[];
  };
  expect([bill.bomFormat, bill.specVersion]).toEqual(['CycloneDX', '1.7']);
  const purls = new Set(bill.components.map(({ purl }) => decodeURIComponent(purl)));
  for (const folder of ['apps/api', 'apps/worker', 'packages/core']) {
    const { dependencies } = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8')) as {
      dependencies: Record<string, string>;
    };
    for (const [name, version] of Object.entries(dependencies)) {
      if (!version.startsWith('workspace:')) expect(purls, name).toContain(`pkg:npm/${name}@${version}`);
    }
  }
  // Only tests need it.
  expect([...purls].filter((purl) => purl.includes('/vitest@'))).toEqual([]);
  const refs = new Set(bill.components.map((component) => component['bom-ref']));
  expect(refs.size).toBe(bill.components.length);
  const bare = bill.components.filter(
    ({ purl, externalReferences }) =>
      !purl.includes('flash-sale') && !externalReferences?.some(({ hashes }) => hashes?.[0]?.alg === 'SHA-512'),
  );
  expect(bare.map(({ purl }) => purl)).toEqual([]);
}, 90_000);

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

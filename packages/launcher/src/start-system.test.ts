/** What `npm start` refuses before it starts anything, and its last lines. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { welcome } from './start-lines.ts';
import { System } from './start-system.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'flash-sale-refused-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function refusalOf(given: Record<string, string>): string {
  try {
    new System({ root: folder, given, say: () => {}, signal: new AbortController().signal });
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error('it was not refused');
}

test('production names at once all that must be chosen', () => {
  const lines = refusalOf({ NODE_ENV: 'production' }).split('\n');
  expect(lines).toEqual([
    expect.stringMatching(/^ADMIN_TOKEN is not set\./),
    expect.stringMatching(/^AUTH is not set\./),
  ]);
  const halfChosen = refusalOf({ NODE_ENV: 'production', AUTH: 'jwt', JWT_SECRET: 'x'.repeat(32) });
  expect(halfChosen.match(/^\w+(?= is not set)/gm)).toEqual(['ADMIN_TOKEN', 'JWT_ISSUER', 'JWT_AUDIENCE']);
  expect(refusalOf({ LOG_FILE: '/var/log/sale.log' })).toMatch(/^LOG_FILE has no effect on npm start/);
  const short = refusalOf({ NODE_ENV: 'production', AUTH: 'header', ADMIN_TOKEN: 'short' });
  expect(short).toMatch(/^ADMIN_TOKEN has a value that does not fit\. .* 16 to 512 .*Required in production;/);
});

test('a terminal that has read system.env starts nothing on the servers of that system', () => {
  const rehearsal = join(folder, 'data-3');
  const refusal = refusalOf({ FLASH_SALE_SYSTEM: folder, DATA_DIR: rehearsal, PORT: '5002' });
  expect(refusal).toContain(`This terminal has the settings of the system on ${folder} `);
  expect(existsSync(rehearsal)).toBe(false);
});

test("the last lines tell the operator's token from a buyer's", () => {
  const facts = {
    apiUrl: 'http://127.0.0.1:5001',
    adminUrl: 'http://127.0.0.1:5001',
    adminToken: 'made-up',
    demo: 'open',
    logs: '/logs',
  } as const;
  const byToken = welcome({ ...facts, buyers: 'jwt' });
  expect(byToken).toMatch(/^ {2}Operator's token +made-up$/m);
  expect(byToken.match(/Bearer \$\w+/g)).toEqual(['Bearer $BUYER_TOKEN', 'Bearer $BUYER_TOKEN']);
  expect(byToken).toContain('docs/operations.md, "Identity"');
  expect(welcome({ ...facts, buyers: 'header' })).not.toContain('BUYER_TOKEN');
});

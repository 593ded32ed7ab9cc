/** npm run load: a crowd against a real API and worker; the sale's numbers match the replies. */
import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, inject, test } from 'vitest';
import type { Crowd } from '../../scripts/load/crowd.ts';
import { checkSale, type SaleNumbers } from '../../scripts/load/sale.ts';
import { ADMIN_TOKEN, startApi, startWorkerHere } from '../support/running-system.ts';
import { openWorld } from '../support/world.ts';
import { root } from '../tidy/source-files.ts';

const standIn = join(import.meta.dirname, 'bin');
const isThere = (tool: string): boolean => spawnSync(tool, ['--version']).error === undefined;

interface Result {
  readonly code: number;
  readonly output: string;
}

function load(url: string, tool: 'k6' | 'wrk', path: string): Promise<Result> {
  const folder = mkdtempSync(join(tmpdir(), 'flash-sale-load-test-'));
  const env = { PATH: path, ADMIN_TOKEN, DATA_DIR: folder, NODE_ENV: 'test' };
  const args = ['10-users', '--with', tool, '--units', '5', '--seconds', '1', '--url', url];
  return new Promise((resolve) => {
    execFile(process.execPath, [join(root, 'scripts', 'load.ts'), ...args], { env }, (error, out, err) => {
      rmSync(folder, { recursive: true, force: true });
      resolve({ code: error ? Number(error.code) : 0, output: out + err });
    });
  });
}

const tools = [
  ['k6/scenarios.ts with a stand-in for k6', 'k6', true, `${standIn}:${process.env.PATH}`],
  ['k6', 'k6', isThere('k6'), process.env.PATH ?? ''],
  ['wrk', 'wrk', isThere('wrk'), process.env.PATH ?? ''],
] as const;

test.each(tools.filter(([, , isInstalled]) => isInstalled))(
  '%s: five buyers get a unit, the others SOLD_OUT',
  async (_what, tool, _isThere, path) => {
    const world = await openWorld(inject('template'));
    const api = await startApi(world);
    const worker = await startWorkerHere(world);
    try {
      const { code, output } = await load(api.url, tool, path);
      expect(output).toMatch(/accepted +5\n +refused +SOLD_OUT \d+\n/);
      expect(output).toContain('5 available before, 0 after, 5 taken');
      expect(output).toMatch(/outcome +passed/);
      expect(code).toBe(0);
    } finally {
      await worker.stop();
      await api.close();
      await world.close();
    }
  },
  60_000,
);

test('an API that answers without a code, and sells nothing, fails the run', async () => {
  const numbers = { allotment: 5, available: 5, reserved: 0, sold: 0, ledger: { allotment: 5, sold: 0 } };
  const server = createServer(({ url }, reply) => {
    const isOrder = url?.endsWith('/order');
    reply.writeHead(isOrder ? 500 : url === '/api/admin/sales' ? 201 : 200).end(isOrder ? '' : JSON.stringify(numbers));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const { code, output } = await load(url, 'k6', `${standIn}:${process.env.PATH}`);
  server.close();
  expect(output).toMatch(/FAILED +every reply was a 200/);
  expect(output).toMatch(/FAILED +unexpected: not count==0/);
  expect(output).toMatch(/FAILED +units were sold/);
  expect(code).toBe(1);
}, 60_000);

const before: SaleNumbers = { allotment: 5, available: 5, reserved: 0, sold: 0, ledger: { allotment: 5, sold: 0 } };
const after: SaleNumbers = { allotment: 5, available: 0, reserved: 0, sold: 5, ledger: { allotment: 5, sold: 5 } };
const crowd: Crowd = {
  seconds: 1,
  requests: 12,
  accepted: 5,
  refused: { SOLD_OUT: 7 },
  unexpected: 0,
  unanswered: 0,
  latencyMs: { p50: 1, p95: 1, p99: 1, max: 1 },
  failures: [],
};

test.each([
  ['nothing, if everything matches', after, crowd, []],
  ['an accepted order without a unit', after, { ...crowd, accepted: 6 }, ['units taken']],
  ['a unit without an accepted order', after, { ...crowd, accepted: 4 }, ['units taken']],
  ['nothing, if its reply was not read', after, { ...crowd, accepted: 4, unanswered: 1 }, []],
  ['a lost confirmation', { ...after, ledger: { allotment: 5, sold: 4 } }, crowd, ['units confirmed in the ledger']],
  [
    'an oversell',
    { ...after, available: -1, sold: 6, ledger: { allotment: 5, sold: 6 } },
    { ...crowd, accepted: 6 },
    ['available is not below 0', 'the ledger sold no more', 'SOLD_OUT was answered'],
  ],
  ['a reservation that stays', { ...after, reserved: 1, sold: 4 }, crowd, ['no unit is still reserved']],
  [
    '"sold out" with units left',
    { ...after, available: 1, sold: 4, ledger: { allotment: 5, sold: 4 } },
    { ...crowd, accepted: 4 },
    ['SOLD_OUT was answered'],
  ],
  ['a bound of the tool', after, { ...crowd, failures: ['p95 is not below 500 ms'] }, ['p95 is not below']],
])('the comparison finds: %s', (_what, numbers, answered, expected) => {
  const broken = checkSale(before, numbers, answered).filter(({ holds }) => !holds);
  expect(broken.length).toBe(expected.length);
  for (const [i, what] of expected.entries()) expect(broken[i]?.what).toContain(what);
});

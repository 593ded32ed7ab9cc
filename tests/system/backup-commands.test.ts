/** npm run backup and restore: unread files are named; the printed command can be pasted. */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { newOrderId } from '@flash-sale/core/domain/order.ts';
import { afterAll, expect, test } from 'vitest';
import { runScript, type Said } from '../support/command.ts';
import { useWorld } from '../support/fixtures.ts';
import { makeSale } from '../support/sales.ts';

const world = useWorld();
// Its path must be quoted in a shell.
const folder = mkdtempSync(join(tmpdir(), "flash sale's "));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const type = (script: 'backup' | 'restore', databaseUrl: string, ...args: string[]): Promise<Said> =>
  runScript(script, args, { DATABASE_URL: databaseUrl, DATA_DIR: join(folder, 'data') });

test('an unread log is named, with exit code 1; the printed command quotes the folder for the shell', async () => {
  const sale = await makeSale(world);
  const [backups, logs] = [join(folder, 'backups'), join(folder, 'logs')];
  mkdirSync(join(logs, 'machine-b'), { recursive: true });
  const fields = { buyer_id: 'ann', quantity: 1, reserved_at: Date.now(), reqId: 'r', msg: 'order accepted' };
  const line = (): string => `${JSON.stringify({ order_id: newOrderId(sale.id), ...fields })}\n`;
  writeFileSync(join(logs, 'machine-b', 'b-api-1.log'), line());
  writeFileSync(join(logs, 'journal.txt'), line());
  const partly = await type('backup', world.databaseUrl, backups, '--logs', logs);
  expect(partly).toMatchObject({ code: 1, stderr: '' });
  expect(partly.stdout).toContain(`NOT READ ${join(logs, 'journal.txt')}: `);
  expect(partly.stdout).toMatch(/read .*b-api-1\.log: 1 accepted order, from \S+Z to \S+Z\n/);
  // The backup is complete all the same.
  expect(partly.stdout).toContain('accepted and not in the ledger: 1');
  rmSync(join(logs, 'journal.txt'));
  expect(await type('backup', world.databaseUrl, backups, '--logs', logs)).toMatchObject({ code: 0, stderr: '' });

  const backup = join(backups, readdirSync(backups).sort()[0] as string);
  const url = new URL(world.databaseUrl);
  const database = `${url.pathname.slice(1)}_restored`;
  url.pathname = `/${database}`;
  await world.pool.query(`CREATE DATABASE ${database} TEMPLATE template0`);
  try {
    const restored = await type('restore', url.href, backup);
    expect(restored).toMatchObject({ code: 0, stderr: '' });
    const words = /npm run recover:orders -- (.*) <logs of the API>/.exec(restored.stdout)?.[1];
    const { stdout } = await promisify(execFile)('sh', ['-c', `printf '[%s]' ${words}`]);
    expect(stdout).toBe(`[${backup}]`);
  } finally {
    await world.pool.query(`DROP DATABASE ${database} WITH (FORCE)`);
  }
}, 60_000);

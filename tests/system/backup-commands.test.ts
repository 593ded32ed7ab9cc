/** npm run backup and npm run restore: what is not read is named, and the printed command can be pasted. */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { newOrderId } from '@flash-sale/core/domain/order.ts';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { makeSale } from '../support/sales.ts';
import { openWorld, type World } from '../support/world.ts';

let world: World;
let folder: string;
beforeAll(async () => {
  world = await openWorld(inject('template'));
  folder = mkdtempSync(join(tmpdir(), "flash sale's "));
});
afterAll(async () => {
  await world.close();
  rmSync(folder, { recursive: true, force: true });
});

function type(script: 'backup' | 'restore', databaseUrl: string, ...args: string[]) {
  const path = fileURLToPath(new URL(`../../scripts/${script}.ts`, import.meta.url));
  const env = { PATH: process.env.PATH, DATABASE_URL: databaseUrl, DATA_DIR: join(folder, 'data') };
  return new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
    execFile(process.execPath, [path, ...args], { env }, (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
    );
  });
}

test('a log that is not read is named, with exit code 1; the folder in the printed command is one word of the shell', async () => {
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

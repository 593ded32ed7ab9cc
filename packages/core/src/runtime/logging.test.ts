/** Log lines: JSON, with secrets redacted. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import { createLogger, linesLost, writeLines } from './logging.ts';

test('secrets and tokens do not reach a log', () => {
  const logging = fileURLToPath(new URL('./logging.ts', import.meta.url));
  const script = `
    const { createLogger } = await import(${JSON.stringify(logging)});
    createLogger('api', 'info').info({
      req: { headers: { authorization: 'Bearer hunter2', cookie: 'hunter2', host: 'shop' } },
      headers: { authorization: 'hunter2' },
      token: 'hunter2', ADMIN_TOKEN: 'hunter2', REDIS_URL: 'redis://:hunter2@h', DATABASE_URL: 'postgres://u:hunter2@h/d',
      buyer_id: 'ann',
    }, 'a line');`;
  const line = execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
  expect(line).not.toContain('hunter2');
  expect(JSON.parse(line)).toMatchObject({
    level: 'info',
    service: 'api',
    msg: 'a line',
    buyer_id: 'ann',
    ADMIN_TOKEN: '[redacted]',
    req: { headers: { authorization: '[redacted]', host: 'shop' } },
  });
});

// Skipped elsewhere: only Linux has a disk that is always full.
test.skipIf(process.platform !== 'linux')('lines that a full disk did not take are counted', () => {
  const log = createLogger('api', 'info', '/dev/full');
  log.info('one');
  writeLines(log, 'order accepted', [{ order_id: 'a' }, { order_id: 'b' }]);
  expect(linesLost(log)).toBe(3);
});

test('a log that can be written again says how many of its own lines are lost', () => {
  const folder = mkdtempSync(join(tmpdir(), 'flash-sale-logging-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  // A file where the folder should be.
  const [logs, file, otherFile] = [join(folder, 'logs'), join(folder, 'logs', 'api.log'), join(folder, 'other.log')];
  writeFileSync(logs, '');
  const log = createLogger('api', 'info', file);
  const other = createLogger('api', 'info', otherFile);
  log.child({ sale: 'a' }).info('one');
  writeLines(log, 'order accepted', [{ order_id: 'a' }, { order_id: 'b' }]);
  rmSync(logs);
  for (const each of [log, log, other]) each.info('written');
  const linesOf = (path: string) => readFileSync(path, 'utf8').trim().split('\n');
  expect(linesOf(file).map((line) => JSON.parse(line))).toMatchObject([
    { msg: 'written' },
    { level: 'error', lines: 3, msg: 'lines of this log could not be written, and are lost' },
    { msg: 'written' },
  ]);
  expect(linesOf(otherFile)).toHaveLength(1);
  expect([linesLost(log), linesLost(other)]).toEqual([3, 0]);
});

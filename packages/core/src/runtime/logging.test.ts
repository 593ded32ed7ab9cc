/** Log lines: JSON, with secrets redacted. */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
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
  const before = linesLost();
  log.info('one');
  writeLines(log, 'order accepted', [{ order_id: 'a' }, { order_id: 'b' }]);
  expect(linesLost() - before).toBe(3);
});

/** --help of every command says what it does, and starts nothing. */
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const scripts = join(import.meta.dirname, '..', '..', 'scripts');
const files = readdirSync(scripts).filter((file) => file.endsWith('.ts') && file !== 'command.ts');
const says = (file: string, what: RegExp) => what.test(readFileSync(join(scripts, file), 'utf8'));
const takeArguments = files.filter((file) => says(file, /\b(readArguments|runScript)\(\s*import\.meta\.url/));
const run = (file: string, argument: string) =>
  promisify(execFile)(process.execPath, [join(scripts, file), argument], { timeout: 15_000 });

test('there are such commands, and none of them reads its options in another way', () => {
  expect(takeArguments.length).toBeGreaterThanOrEqual(9);
  const others = files.filter((file) => says(file, /\bparseArgs\(/));
  expect(others).toEqual([]);
});

test.each(takeArguments)(
  '%s says what is typed',
  async (file) => {
    expect((await run(file, '--help')).stdout).toMatch(/^(Usage: )?\s*(pnpm|npm) (run )?[a-z:-]+/m);
  },
  30_000,
);

test('what it does not know is refused, with what may be typed', async () => {
  const refusal = await run('load.ts', '--no-such-option').catch((error: { code: number; stderr: string }) => error);
  expect(refusal).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/'--no-such-option'.*\nUsage: npm run load -- /s),
  });
});

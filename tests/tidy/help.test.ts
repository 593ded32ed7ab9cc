/** --help of every command says what it does, and starts nothing. */
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { usageOf } from '../../scripts/command.ts';

const scripts = join(import.meta.dirname, '..', '..', 'scripts');
const files = readdirSync(scripts).filter((file) => file.endsWith('.ts') && file !== 'command.ts');
const says = (file: string, what: RegExp) => what.test(readFileSync(join(scripts, file), 'utf8'));
const takeArguments = files.filter((file) => says(file, /\b(readArguments|runScript)\(\s*import\.meta\.url/));
const run = (file: string, argument: string) =>
  promisify(execFile)(process.execPath, [join(scripts, file), argument], { timeout: 15_000 });

test('every command reads its arguments in one way, and its comment says how to run it', () => {
  expect(takeArguments.length).toBeGreaterThanOrEqual(9);
  expect(files.filter((file) => says(file, /\bparseArgs\(/))).toEqual([]);
  for (const file of takeArguments)
    expect(usageOf(pathToFileURL(join(scripts, file)).href), file).toMatch(/^Usage: (pnpm|npm) (run )?[a-z:-]+/);
});

test('--help prints that comment; an unknown option is refused with the usage', async () => {
  expect((await run('start.ts', '--help')).stdout).toMatch(/^\s*npm (run )?start/m);
  const refusal = await run('load.ts', '--no-such-option').catch((error: { code: number; stderr: string }) => error);
  const stderr = expect.stringMatching(/'--no-such-option'.*\nUsage: npm run load -- /s);
  expect(refusal).toMatchObject({ code: 1, stderr });
}, 30_000);

/** --help of every command says what it does, and starts nothing. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { usageOf } from '../../scripts/command.ts';

const scripts = join(import.meta.dirname, '..', '..', 'scripts');
const files = readdirSync(scripts).filter((file) => file.endsWith('.ts') && file !== 'command.ts');
const says = (file: string, what: RegExp) => what.test(readFileSync(join(scripts, file), 'utf8'));
const takeArguments = files.filter((file) => says(file, /\b(readArguments|runScript)\(\s*import\.meta\.url/));
/** Only PATH: a command that began its work would miss its settings. */
const run = (file: string, argument: string) =>
  promisify(execFile)(process.execPath, [join(scripts, file), argument], {
    env: { PATH: process.env.PATH },
    timeout: 20_000,
  });

test('every command reads its arguments in one way, and its comment says how to run it', () => {
  expect(takeArguments).toEqual(files);
  expect(files.filter((file) => says(file, /\bparseArgs\(/))).toEqual([]);
  for (const file of takeArguments)
    expect(usageOf(pathToFileURL(join(scripts, file)).href), file).toMatch(/^Usage: (pnpm|npm) (run )?[a-z:-]+/);
});

test('--help prints that comment and starts nothing; an unknown option is refused with the usage', async () => {
  for (const file of ['migrate.ts', 'start.ts', 'test.ts'])
    expect((await run(file, '--help')).stdout, file).toMatch(/^\s*npm (run )?[a-z:-]+/);
  const refusal = await run('load.ts', '--no-such-option').catch((error: { code: number; stderr: string }) => error);
  const stderr = expect.stringMatching(/'--no-such-option'.*\nUsage: npm run load -- /s);
  expect(refusal).toMatchObject({ code: 1, stderr });
}, 30_000);

test('a command whose reader is gone (| head) ends quietly', async () => {
  const child = spawn(process.execPath, [join(scripts, 'doctor.ts'), '--list'], { stdio: ['ignore', 'pipe', 'pipe'] });
  child.stdout.destroy();
  const [stderr, [code]] = await Promise.all([text(child.stderr), once(child, 'exit')]);
  expect({ stderr, code }).toEqual({ stderr: '', code: 0 });
}, 20_000);

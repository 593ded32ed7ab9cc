/** The checks of `pnpm check`, so that `npm test` alone shows that all is well. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { root } from './source-files.ts';

const run = promisify(execFile);

async function check(program: string, ...args: string[]): Promise<string> {
  const found = await run(join(root, 'node_modules', '.bin', program), args, { cwd: root, maxBuffer: 1 << 24 }).catch(
    (error: { stdout: string; stderr: string }) => error,
  );
  return 'code' in found && found.code !== 0 ? `${found.stdout}\n${found.stderr}` : '';
}

test('types fit', async () => expect(await check('tsc', '-p', '.')).toBe(''), 120_000);
test(
  'lint and format are clean',
  async () => expect(await check('biome', 'check', '--error-on-warnings')).toBe(''),
  60_000,
);
test('no code and no dependency is unused', async () => expect(await check('knip', '--no-progress')).toBe(''), 120_000);

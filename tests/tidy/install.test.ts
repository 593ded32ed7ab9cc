/** The first command of a new clone installs the packages: what a terminal shows meanwhile. */
import { execFile } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify, stripVTControlCharacters } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { root } from './source-files.ts';

const COLUMNS = 60;
const PROGRESS = `Progress: ${'resolved 268, reused 268, downloaded 0, '.repeat(4)}`;

test('the progress of the installation is one line, cut to the width of the terminal', async () => {
  const clone = mkdtempSync(join(tmpdir(), 'flash-sale-clone-'));
  onTestFinished(() => rmSync(clone, { recursive: true, force: true }));
  for (const file of ['package.json', 'pnpm-lock.yaml', 'scripts/run.mjs']) cpSync(join(root, file), join(clone, file));
  const [installed, bin] = [join(clone, 'node_modules', 'node', 'bin'), join(clone, 'bin')];
  for (const folder of [installed, bin]) mkdirSync(folder, { recursive: true });
  // In place of npx, which would fetch pnpm; it leaves what the installation does.
  const npx = join(bin, 'npx');
  writeFileSync(
    npx,
    `#!/bin/sh
for n in 1 2 3; do echo '${PROGRESS}'$n; sleep 0.1; done
ln -s '${process.execPath}' '${installed}/node'`,
  );
  chmodSync(npx, 0o755);
  writeFileSync(join(clone, 'scripts', 'hello.ts'), `console.log('hello');`);
  const terminal = join(clone, 'terminal.mjs');
  writeFileSync(terminal, `Object.assign(process.stdout, { isTTY: true, columns: ${COLUMNS} });`);
  const args = ['--import', terminal, join(clone, 'scripts', 'run.mjs'), 'hello'];
  const env = { PATH: [bin, process.env.PATH].join(delimiter) };
  const { stdout } = await promisify(execFile)(process.execPath, args, { env });
  const [first, progress = '', ...last] = stdout.trimEnd().split('\n');
  expect(first).toMatch(/^Installing packages with pnpm@/);
  expect(last).toEqual(['hello']);
  const shown = progress.split('\r').map((text) => stripVTControlCharacters(text));
  expect(shown.slice(1, -1)).toContain(PROGRESS.slice(0, COLUMNS - 1));
  expect(Math.max(...shown.slice(0, -1).map((text) => text.length))).toBeLessThan(COLUMNS);
  expect(shown.at(-1)).toMatch(/^Packages installed in/);
});

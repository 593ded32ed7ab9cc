/** Runs the pnpm that package.json pins, wherever it comes from. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const WITHIN_MS = 60_000;

/** @returns exit code (1 where it did not end by itself), and all that it said */
export function runPinnedPnpm(args) {
  const { packageManager } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const { status, stdout, stderr, error } = spawnSync('npx', ['--yes', packageManager, ...args], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 26,
    timeout: WITHIN_MS,
  });
  return {
    code: status ?? 1,
    stdout: stdout ?? '',
    stderr: error ? `${stderr ?? ''}${error.message}\n` : (stderr ?? ''),
  };
}

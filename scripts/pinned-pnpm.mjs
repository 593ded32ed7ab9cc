/** Runs the pnpm version that package.json pins: node scripts/pinned-pnpm.mjs <argument …> */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const TIMEOUT_MS = 10 * 60_000;

/** @returns exit code (1 if pnpm did not exit by itself), stdout and stderr */
export function runPinnedPnpm(args) {
  const { packageManager } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const options = { cwd: root, encoding: 'utf8', maxBuffer: 1 << 26, timeout: TIMEOUT_MS };
  const { status, stdout, stderr, error } = spawnSync('npx', ['--yes', packageManager, ...args], options);
  return { code: status ?? 1, stdout: stdout ?? '', stderr: `${stderr ?? ''}${error ? `${error.message}\n` : ''}` };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { code, stdout, stderr } = runPinnedPnpm(process.argv.slice(2));
  process.stdout.write(stdout);
  process.stderr.write(stderr);
  process.exitCode = code;
}

/** The last lines of a measured page: what made it, from which code, on which machine and day. */
import { execFileSync } from 'node:child_process';
import { cpus, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

function git(...args: string[]): string {
  return execFileSync('git', args, { cwd: root, encoding: 'utf8' }).trim();
}

/** Of the code that runs: "1a2b3c4", or "1a2b3c4 with changes". */
export function commitNow(): string {
  const changed = git('status', '--porcelain', '--', 'apps', 'packages') !== '';
  return `${git('rev-parse', '--short', 'HEAD')}${changed ? ' with changes' : ''}`;
}

/** @param command as it is typed again */
export function measuredBy(command: string): string {
  return `- Command: \`${command}\`
- Commit: ${commitNow()}
- Machine: ${thisMachine()}
- Date: ${new Date().toISOString().slice(0, 10)}
`;
}

/** For example "2 × AMD EPYC, 24 GiB, linux; Node v24.21.0". */
export function thisMachine(): string {
  const memory = Math.round(totalmem() / 2 ** 30);
  return `${cpus().length} × ${cpus()[0]?.model.trim()}, ${memory} GiB, ${process.platform}; Node ${process.version}`;
}

/**
 * Asks the registry for known vulnerabilities of the production packages. Exit code 1: at least one is high or critical. If the
 * registry does not answer, this says so and exits with 0: a build must not fail because of a third party's server.
 */
import { pathToFileURL } from 'node:url';
import { runPinnedPnpm } from './pinned-pnpm.mjs';

/** @param stdout of `pnpm audit --json` @returns what to say, and the exit code */
export function judgeAudit(stdout) {
  const found = readCounts(stdout);
  if (found === null)
    return { code: 0, said: 'Packages not audited: the registry cannot be asked. Nothing is known, good or bad.' };
  const { low = 0, moderate = 0, high = 0, critical = 0 } = found;
  const counts = `${critical} critical, ${high} high, ${moderate} moderate, ${low} low`;
  if (high + critical === 0) return { code: 0, said: `Packages audited: ${counts}.` };
  return { code: 1, said: `Packages with known faults: ${counts}. See them with: pnpm audit --prod` };
}

/** Only a report has counts; an error of the registry or the network has none. */
function readCounts(stdout) {
  try {
    return JSON.parse(stdout).metadata?.vulnerabilities ?? null;
  } catch {
    return null;
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { stdout, stderr } = runPinnedPnpm(['audit', '--prod', '--json']);
  const { code, said } = judgeAudit(stdout);
  process.stdout.write(`${said}\n`);
  if (code === 0 && said.startsWith('Packages not'))
    process.stderr.write(`${(stderr || stdout).trim().slice(0, 500)}\n`);
  process.exitCode = code;
}

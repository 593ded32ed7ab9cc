/**
 * Inspects and stops processes that are not children of this one, such as those that a killed start
 * left.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS = 50;
const KILLED_WITHIN_MS = 5_000;

/**
 * @returns the command line, separated by spaces; undefined if there is no such process or it is a
 * zombie
 */
function commandLine(pid: number): string | undefined {
  try {
    const text =
      process.platform === 'linux'
        ? readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
        : execFileSync('ps', ['-ww', '-o', 'command=', '-p', String(pid)], { encoding: 'utf8' });
    return text.trim() || undefined;
  } catch {
    return undefined;
  }
}

/**
 * Whether `folder` or a path in it is in the process's arguments. Pids are reused, so a pid is not
 * enough.
 */
export function worksIn(pid: number, folder: string): boolean {
  const rests = (commandLine(pid) ?? '').split(folder).slice(1);
  return rests.some((rest) => /^(\/| |$)/.test(rest));
}

/** @returns false if there is no such process */
export function signalProcess(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}

/**
 * Stops processes that a killed launcher left: apps first, then servers; only those that use
 * `folder`.
 *
 * @param processes name → pid
 * @param timeoutMs between the stop signal and SIGKILL
 */
export async function endLeftovers(
  processes: Readonly<Record<string, number>>,
  folder: string,
  timeoutMs: number,
  say: (line: string) => void,
): Promise<void> {
  const ours = Object.entries(processes).filter(([, pid]) => worksIn(pid, folder));
  for (const group of [/^(api|worker)-/, /^(redis|postgres)$/]) {
    const ending = ours.filter(([name]) => group.test(name));
    await Promise.all(
      ending.map(async ([name, pid]) => {
        say(`stopping ${name} (pid ${pid}), left by a start that was killed`);
        // SIGINT is PostgreSQL's fast shutdown: it does not wait for clients.
        const steps = [
          [name === 'postgres' ? 'SIGINT' : 'SIGTERM', timeoutMs] as const,
          ['SIGKILL', KILLED_WITHIN_MS] as const,
        ];
        for (const [signal, withinMs] of steps) {
          if (worksIn(pid, folder)) signalProcess(pid, signal);
          for (const until = Date.now() + withinMs; worksIn(pid, folder) && Date.now() < until; ) await sleep(POLL_MS);
        }
      }),
    );
  }
}

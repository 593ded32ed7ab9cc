/** What the machine says about a process that may not be our child: is it there, what was it started as, end it. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const LOOK_EVERY_MS = 50;

/** The whole command line with single spaces, or undefined when there is no such process (a zombie counts as none). */
export function commandLine(pid: number): string | undefined {
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
 * Whether the process was started with `folder`, or something inside it, in its arguments. A pid alone proves nothing:
 * the system gives it to somebody else once its owner is gone.
 */
export function worksIn(pid: number, folder: string): boolean {
  const line = commandLine(pid) ?? '';
  for (let at = line.indexOf(folder); at >= 0; at = line.indexOf(folder, at + 1)) {
    const next = line[at + folder.length];
    if (next === undefined || next === '/' || next === ' ') return true;
  }
  return false;
}

/** Sends the signal, and says whether there was anybody to receive it. A negative pid means the whole process group. */
export function signalProcess(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch {
    return false;
  }
}

/**
 * Ends a process that is not our child: `signal`, then SIGKILL when it is still there after `timeoutMs`.
 *
 * @param stillOurs asked again before each signal, so that a reused pid is left alone
 */
export async function endProcess(
  pid: number,
  signal: NodeJS.Signals,
  timeoutMs: number,
  stillOurs: () => boolean,
): Promise<void> {
  for (const [step, within] of [
    [signal, timeoutMs],
    ['SIGKILL', 5_000],
  ] as const) {
    if (!stillOurs()) return;
    signalProcess(pid, step);
    const until = Date.now() + within;
    while (Date.now() < until) {
      if (!stillOurs()) return;
      await sleep(LOOK_EVERY_MS);
    }
  }
}

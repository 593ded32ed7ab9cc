/**
 * Inspects and stops processes that are not children of this one, such as those that a killed start
 * left.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS = 50;
const KILLED_WITHIN_MS = 5_000;

/** Names of processes, in the order in which they are stopped. */
export const STOP_ORDER = [/^api-/, /^worker-/, /^(redis|postgres)$/];

/**
 * @returns whether `folder` or a path in it is in the process's arguments; false if there is no
 * such process. Pids are reused, so a pid is not enough.
 */
export function worksIn(pid: number, folder: string): boolean {
  let line: string;
  try {
    line =
      process.platform === 'linux'
        ? readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
        : execFileSync('ps', ['-ww', '-o', 'command=', '-p', String(pid)], { encoding: 'utf8' });
  } catch {
    return false;
  }
  const rests = line.split(folder).slice(1);
  return rests.some((rest) => /^(\/|\s|$)/.test(rest));
}

/** Does nothing if there is no such process. */
export function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {}
}

/**
 * Stops processes that a killed launcher left; only those that use `folder`.
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
  const end = async (name: string, pid: number): Promise<void> => {
    say(`stopping ${name} (pid ${pid}), left by a start that was killed`);
    // SIGINT is PostgreSQL's fast shutdown: it does not wait for clients.
    const stopSignal = name === 'postgres' ? 'SIGINT' : 'SIGTERM';
    for (const [signal, withinMs] of [[stopSignal, timeoutMs] as const, ['SIGKILL', KILLED_WITHIN_MS] as const]) {
      if (worksIn(pid, folder)) signalProcess(pid, signal);
      for (const until = performance.now() + withinMs; worksIn(pid, folder) && performance.now() < until; )
        await sleep(POLL_MS);
    }
  };
  const ours = Object.entries(processes).filter(([, pid]) => worksIn(pid, folder));
  for (const group of STOP_ORDER)
    await Promise.all(ours.map(([name, pid]) => (group.test(name) ? end(name, pid) : undefined)));
}

/** Reads CPU time and memory of processes from /proc (Linux), and starts and stops processes. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { openSync, readdirSync, readFileSync } from 'node:fs';

const TICK_MS = 1_000 / Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));
const STOP_MS = 15_000;

/** CPU time of a process and its descendants in ms. An ended child counts with its parent. */
export function cpuMs(pid: number): number {
  const stats = readdirSync('/proc').flatMap((name) => (/^\d+$/.test(name) ? (readStat(Number(name)) ?? []) : []));
  const below = (parent: number): number =>
    stats.filter((stat) => stat.parent === parent).reduce((sum, stat) => sum + stat.cpuMs + below(stat.pid), 0);
  return (stats.find((stat) => stat.pid === pid)?.cpuMs ?? 0) + below(pid);
}

/** @returns null if the process has ended */
function readStat(pid: number): { pid: number; parent: number; cpuMs: number } | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name in parentheses may hold anything; the fields after it are numbers. See proc(5).
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
    return { pid, parent: Number(fields[1]), cpuMs: ticks * TICK_MS };
  } catch {
    return null;
  }
}

/** Resident memory of one process in MB. */
export function residentMb(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return (Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) * 1_024) / 1e6;
}

/** @returns once the process has sent its ready message; its output goes to the log file */
export async function startProcess(
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  logFile: string,
): Promise<{ child: ChildProcess; port: number }> {
  const log = openSync(logFile, 'a');
  const child = spawn(process.execPath, args, { env, stdio: ['ignore', log, log, 'ipc'] });
  const { port } = await new Promise<{ port: number }>((resolve, reject) => {
    child.once('message', (message) => resolve(message as { port: number }));
    child.once('exit', (code) =>
      reject(new Error(`${args.at(-1)} ended (${code}):\n${readFileSync(logFile, 'utf8')}`)),
    );
    child.once('error', reject);
  });
  return { child, port };
}

/** SIGTERM, then SIGKILL if it does not end in time. */
export async function endProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  const force = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
  await gone;
  clearTimeout(force);
}

/** CPU time and memory of processes as the kernel counts them (/proc: Linux). */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

/** ms a tick of the kernel's clock: nearly everywhere 10. */
const TICK_MS = 1_000 / Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

interface ProcStat {
  readonly pid: number;
  readonly parent: number;
  /** Its own and that of its children that ended, ms. */
  readonly cpuMs: number;
}

/** @returns null where the process is gone */
function readStat(pid: number): ProcStat | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name in brackets may hold anything; what follows it is numbers. See proc(5).
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
    return { pid, parent: Number(fields[1]), cpuMs: ticks * TICK_MS };
  } catch {
    return null;
  }
}

/** CPU time that a process and all below it have used, ms. A process that ends between two looks is counted with its parent. */
export function cpuMs(pid: number): number {
  const all = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  const stats = all.flatMap((name) => readStat(Number(name)) ?? []);
  const below = (parent: number): number =>
    stats.filter((stat) => stat.parent === parent).reduce((sum, stat) => sum + stat.cpuMs + below(stat.pid), 0);
  return (stats.find((stat) => stat.pid === pid)?.cpuMs ?? 0) + below(pid);
}

/** Resident memory of one process, bytes: now, and the most it ever had. */
export function memoryOf(pid: number): { resident: number; peak: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const kib = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0);
  return { resident: kib('VmRSS') * 1_024, peak: kib('VmHWM') * 1_024 };
}

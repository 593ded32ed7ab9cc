/** A bound of memory that the kernel really keeps: a control group (Linux, version 1 or 2), as containers have it. */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const VERSIONS = [
  { root: '/sys/fs/cgroup/memory', bound: 'memory.limit_in_bytes', none: '-1' },
  { root: '/sys/fs/cgroup', bound: 'memory.max', none: 'max' },
];

/** @returns bytes */
function residentBytes(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1_024;
}

/**
 * @param part of the bound that it uses already
 * @returns what takes the bound away, and what removes the group once the process is gone
 * @throws with a sentence where this machine has no control groups that we may make
 */
export function confineMemory(pid: number, part: number): { free(): void; remove(): void } {
  for (const { root, bound, none } of VERSIONS) {
    const group = join(root, `flash-sale-drill-${pid}`);
    const remove = (): void => rmdirSync(group);
    try {
      mkdirSync(group);
    } catch {
      continue;
    }
    if (!existsSync(join(group, bound))) {
      remove();
      continue;
    }
    writeFileSync(join(group, bound), String(Math.floor(residentBytes(pid) / part)));
    writeFileSync(join(group, 'cgroup.procs'), String(pid));
    return { free: () => writeFileSync(join(group, bound), none), remove };
  }
  throw new Error(
    'A bound of memory needs a control group of its own, and none can be made here. Run the drill on Linux, as root.',
  );
}

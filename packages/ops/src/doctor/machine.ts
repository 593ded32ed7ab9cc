/** This machine: files that a process may open, free space on disks, and clocks. */
import { readFile, stat, statfs } from 'node:fs/promises';
import type { ClockReading } from './read-clock.ts';
import { bytes, type Check, milliseconds, ok, warning, wrong } from './report.ts';

/** Files that an API process opens besides client connections: servers, logs, Node's own. */
const OWN_FILES = 200;
/** The logs of a process grow to 1 GB; an order adds 540 bytes to the append-only file. */
const DISK_LOW_BYTES = 5 * 1024 ** 3;
const DISK_FULL_BYTES = 1024 ** 3;
/** Buyers compare the start of a sale with their own clock, to the second. */
const CLOCK_MS = 1_000;
/** A clock that is off by more is not synchronized at all. */
const CLOCK_LOST_MS = 30_000;

export interface Disk {
  /** The requested folders that are on this disk. */
  readonly folders: readonly string[];
  readonly freeBytes: number;
}

/** Node raises its soft limit to the hard one at its start. null: not Linux. */
export async function readOpenFiles(): Promise<number | null> {
  const limits = await readFile('/proc/self/limits', 'utf8').catch(() => '');
  const found = /^Max open files +(\S+)/m.exec(limits)?.[1];
  if (found === undefined) return null;
  return found === 'unlimited' ? Number.POSITIVE_INFINITY : Number(found);
}

/** Each disk once. A folder that does not exist here (of a server in a container) is left out. */
export async function readDisks(folders: readonly string[]): Promise<Disk[]> {
  const read = async (folder: string) => {
    const [{ dev }, { bavail, bsize }] = await Promise.all([stat(folder), statfs(folder)]);
    return { dev, folder, freeBytes: bavail * bsize };
  };
  const found = await Promise.all([...new Set(folders)].map((folder) => read(folder).catch(() => null)));
  const onDisks = Map.groupBy(
    found.filter((one) => one !== null),
    ({ dev }) => dev,
  );
  return [...onDisks.values()].map((all) => ({
    folders: all.map(({ folder }) => folder),
    freeBytes: Math.min(...all.map(({ freeBytes }) => freeBytes)),
  }));
}

export const OPEN_FILES_CHECK: Check<number | null> = [
  'OPEN_FILES',
  'A process without free file descriptors accepts no connections and cannot reach its servers.',
  (openFiles, { MAX_CONNECTIONS: connections }) => {
    if (openFiles === null) return ok('the limit is unknown: this is not Linux');
    const needed = connections + OWN_FILES;
    const found = `${openFiles}, and MAX_CONNECTIONS=${connections}`;
    return openFiles >= needed
      ? ok(found)
      : wrong(found, `ulimit -n ${needed} (systemd: LimitNOFILE=${needed}), or a lower MAX_CONNECTIONS`);
  },
];

export const DISK_CHECK: Check<Disk> = [
  'DISK',
  'On a full disk Redis and PostgreSQL accept no writes, and the accepted-order log loses lines.',
  ({ folders, freeBytes }) => {
    const found = `${bytes(freeBytes)} free for ${folders.join(', ')}`;
    const fix = `Free space, or use a larger disk (df -h ${folders[0]})`;
    if (freeBytes < DISK_FULL_BYTES) return wrong(found, fix);
    return freeBytes < DISK_LOW_BYTES ? warning(found, fix) : ok(found);
  },
];

/** Clocks by name. Each is compared with every other one and with this machine's. */
export const CLOCKS_CHECK: Check<ReadonlyMap<string, ClockReading>> = [
  'CLOCKS',
  'A sale starts by the clock of Redis; rows carry the time of PostgreSQL.',
  (clocks) => {
    const all = [...clocks, ['this machine', { aheadMs: 0, unsureMs: 0 }] as const];
    const pairs = all.flatMap(([name, one], i) =>
      all.slice(i + 1).map(([otherName, other]) => {
        const aheadMs = one.aheadMs - other.aheadMs;
        // Less the uncertainty, which is the time that each answer took.
        const offMs = Math.abs(aheadMs) - one.unsureMs - other.unsureMs;
        return {
          offMs,
          found: `${name} is ${milliseconds(Math.abs(aheadMs))} ${aheadMs < 0 ? 'behind' : 'ahead of'} ${otherName}`,
        };
      }),
    );
    const worst = pairs.toSorted((a, b) => b.offMs - a.offMs)[0];
    if (!worst) return ok('no server was read');
    const fix = 'Synchronize all machines with one time server (chronyc tracking, timedatectl)';
    if (worst.offMs > CLOCK_LOST_MS) return wrong(worst.found, fix);
    return worst.offMs > CLOCK_MS ? warning(worst.found, fix) : ok(worst.found);
  },
];

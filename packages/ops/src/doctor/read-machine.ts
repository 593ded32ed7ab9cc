/** What this machine says of itself: files that a process may open, and room on the disks of folders. */
import { readFile, stat, statfs } from 'node:fs/promises';

export interface Disk {
  /** Folders that lie on it, of those that were asked for. */
  readonly folders: readonly string[];
  readonly freeBytes: number;
}

/** Files that this process may have open. Node raises its soft bound to the hard one as it starts. null: no Linux. */
export async function readOpenFiles(): Promise<number | null> {
  const limits = await readFile('/proc/self/limits', 'utf8').catch(() => '');
  const found = /^Max open files +(\S+)/m.exec(limits)?.[1];
  if (found === undefined) return null;
  return found === 'unlimited' ? Number.POSITIVE_INFINITY : Number(found);
}

/** Each disk once. A folder that is not there (a server's, in a container) is left out. */
export async function readDisks(folders: readonly string[]): Promise<Disk[]> {
  const found = await Promise.all(
    [...new Set(folders)].map(async (folder) => {
      try {
        const [{ dev }, { bavail, bsize }] = await Promise.all([stat(folder), statfs(folder)]);
        return { dev, folder, freeBytes: bavail * bsize };
      } catch {
        return null;
      }
    }),
  );
  const byDisk = Map.groupBy(
    found.filter((one) => one !== null),
    ({ dev }) => dev,
  );
  return [...byDisk.values()].map((all) => ({
    folders: all.map(({ folder }) => folder),
    freeBytes: Math.min(...all.map(({ freeBytes }) => freeBytes)),
  }));
}

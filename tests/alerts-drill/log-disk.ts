/** A small disk for a log, that can be made full under a process which has the file open: a file system in memory (Linux, as root). */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runCommand } from '@flash-sale/launcher/run-command.ts';

const MIB = 2 ** 20;
/** What orders of the whole drill write fits many times. */
const DISK_MIB = 64;

export interface LogDisk {
  readonly file: string;
  /** @throws with a sentence where this machine let no disk be made */
  fill(): void;
  free(): void;
  remove(): Promise<void>;
}

/** @param folder that there is not yet. Where it cannot be a disk of its own it is a plain folder, which cannot be filled. */
export async function openLogDisk(folder: string): Promise<LogDisk> {
  mkdirSync(folder);
  const mount = ['-t', 'tmpfs', '-o', `size=${DISK_MIB}m`, 'flash-sale-drill', folder];
  const { code, stderr } = await runCommand('mount', mount);
  const filler = join(folder, 'filler');
  const free = (): void => rmSync(filler, { force: true });
  return {
    file: join(folder, 'api.log'),
    fill() {
      if (code !== 0)
        throw new Error(
          `A full disk needs a file system of its own, and none can be made here (${stderr.trim()}). Run the drill on Linux, as root.`,
        );
      // The last piece does not fit as a whole: what fits of it is written, so that not a byte is left.
      for (let i = 0; i < DISK_MIB; i++) fillWith(filler, Buffer.alloc(MIB));
    },
    free,
    async remove() {
      if (code === 0) await runCommand('umount', [folder]);
    },
  };
}

function fillWith(file: string, piece: Buffer): void {
  try {
    writeFileSync(file, piece, { flag: 'a' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  }
}

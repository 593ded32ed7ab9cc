/**
 * The data folder of `npm start`: its owner and its secrets. <data>/running.json has the pids of
 * the owner and of its child processes, so that the next start can stop processes that a killed one
 * left.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

interface RunRecord {
  readonly launcher: number;
  /** ISO 8601. */
  readonly since: string;
  /** Name → pid. */
  readonly processes: Record<string, number>;
}

export type DataFolderClaim = ReturnType<typeof claimDataFolder>;

/**
 * Claims the data folder for this process.
 *
 * @throws Error if a running system has claimed it
 */
export function claimDataFolder(dataFolder: string) {
  const file = join(dataFolder, 'running.json');
  const last = readRecord(file);
  const lock = lockFile(join(dataFolder, 'running.lock'));
  if (lock === null) {
    const { launcher = 'unknown', since = 'an unknown time' } = last;
    throw new Error(
      `A system already runs on ${dataFolder} (pid ${launcher}, since ${since}). Stop it with Ctrl-C there or ` +
        `"kill ${launcher}", or run a second one alongside it: DATA_DIR=.data-2 PORT=5002 npm start`,
    );
  }
  const left = last.processes ?? {};
  // Keep the old processes in the record, in case this start is killed before it has stopped them.
  // biome-ignore lint/plugin/wall-time: when it was started
  const record: RunRecord = { launcher: process.pid, since: new Date().toISOString(), processes: { ...left } };
  const write = () => writeWhole(file, `${JSON.stringify(record, null, 2)}\n`);
  write();
  return {
    /** Processes of the previous owner that may still run: name → pid. */
    left,
    setProcess(name: string, pid: number): void {
      record.processes[name] = pid;
      write();
    },
    release(): void {
      rmSync(file, { force: true });
      lock.close();
    },
  };
}

const SECRET_BYTES = 32;

/**
 * Reads the secret <data>/secrets/<name>; creates it at the first call, readable by its owner only.
 *
 * @returns base64url, which needs no escaping in URLs, headers or SQL
 */
export function keptSecret(dataFolder: string, name: string): string {
  const file = join(dataFolder, 'secrets', name);
  // Empty: a machine lost power, or a disk was full.
  const kept = existsSync(file) ? readFileSync(file, 'utf8').trim() : '';
  if (kept !== '') return kept;
  mkdirSync(join(dataFolder, 'secrets'), { recursive: true, mode: 0o700 });
  const secret = randomBytes(SECRET_BYTES).toString('base64url');
  writeWhole(file, `${secret}\n`);
  return secret;
}

/**
 * Node has no flock. SQLite locks its file with one, which the kernel releases when this process
 * ends.
 *
 * @returns null if another process has the lock
 */
function lockFile(file: string): DatabaseSync | null {
  // Milliseconds: a process that was just killed may still have the lock.
  const lock = new DatabaseSync(file, { timeout: 500 });
  try {
    lock.exec('BEGIN EXCLUSIVE');
    return lock;
  } catch (error) {
    lock.close();
    if ((error as Error).message.includes('locked')) return null;
    throw error;
  }
}

/** Atomic: a crash, or a loss of power, leaves either the old or the new content. */
function writeWhole(file: string, text: string): void {
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, text, { mode: 0o600, flush: true });
  renameSync(draft, file);
}

/** @returns {} if it does not exist or is corrupt */
function readRecord(file: string): Partial<RunRecord> {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as RunRecord;
  } catch {
    return {};
  }
}

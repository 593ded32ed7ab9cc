/**
 * The data folder of `npm start`: who owns it, and its secrets. <data>/running.json names the owner and the processes
 * that it started: for people, and for the next start, which ends what a killed one left behind.
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

export interface DataFolderClaim {
  /** Processes that the last owner may have left running: name → pid. */
  readonly left: Readonly<Record<string, number>>;
  setProcess(name: string, pid: number): void;
  release(): void;
}

interface RunRecord {
  readonly launcher: number;
  /** ISO 8601. */
  readonly since: string;
  /** Name → pid. */
  readonly processes: Record<string, number>;
}

/**
 * Claims the data folder for this process.
 *
 * @throws Error with a sentence when a running system has it
 */
export function claimDataFolder(dataFolder: string): DataFolderClaim {
  const file = join(dataFolder, 'running.json');
  const last = readRecord(file);
  const lock = lockFile(join(dataFolder, 'running.lock'));
  if (lock === null) {
    const { launcher = 'unknown', since = 'an unknown time' } = last ?? {};
    throw new Error(
      `The system already runs on ${dataFolder} (pid ${launcher}, since ${since}). Stop it with Ctrl-C there or ` +
        `"kill ${launcher}", or run a second one apart: DATA_DIR=.data-2 PORT=5002 npm start`,
    );
  }
  const left = last?.processes ?? {};
  // What was left stays in the record, in case this start is killed before it has ended it.
  const record: RunRecord = { launcher: process.pid, since: new Date().toISOString(), processes: { ...left } };
  const write = () => writeWhole(file, `${JSON.stringify(record, null, 2)}\n`);
  write();
  return {
    left,
    setProcess(name, pid) {
      record.processes[name] = pid;
      write();
    },
    release() {
      rmSync(file, { force: true });
      lock.close();
    },
  };
}

const SECRET_BYTES = 32;

/**
 * The secret of that name in <data>/secrets, created at the first call and readable by its owner only.
 *
 * @returns base64url: needs no escaping in URLs, headers or SQL
 */
export function keptSecret(dataFolder: string, name: string): string {
  const file = join(dataFolder, 'secrets', name);
  const known = readText(file)?.trim();
  if (known) return known;
  mkdirSync(join(dataFolder, 'secrets'), { recursive: true, mode: 0o700 });
  const secret = randomBytes(SECRET_BYTES).toString('base64url');
  writeWhole(file, `${secret}\n`);
  return secret;
}

/** Node has no flock; SQLite does, and the system releases it however this process ends. @returns null: another has it */
function lockFile(file: string): DatabaseSync | null {
  // Milliseconds: a process that was just killed may still be releasing it.
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

/** A crash leaves the old text or the new one, never half of it. */
function writeWhole(file: string, text: string): void {
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, text, { mode: 0o600 });
  renameSync(draft, file);
}

function readText(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** @returns undefined where there is none, or a crash of the machine has spoiled it */
function readRecord(file: string): RunRecord | undefined {
  try {
    return JSON.parse(readText(file) ?? '') as RunRecord;
  } catch {
    return undefined;
  }
}

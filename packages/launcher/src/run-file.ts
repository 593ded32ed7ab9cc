/**
 * <data>/running.json: who runs on this data folder. It keeps two systems from sharing one folder, and lets the next start
 * end what a killed one left behind.
 */
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { commandLine, endProcess, worksIn } from './process-table.ts';

export interface RunRecord {
  readonly launcher: number;
  /** Part of the launcher's command line; proves that the pid was not given to somebody else since. */
  readonly script: string;
  /** ISO 8601. */
  readonly since: string;
  /** Name → pid of what was started. */
  readonly processes: Record<string, number>;
}

export interface RunFile {
  /** What the last owner left behind; undefined when it ended properly. */
  readonly left: RunRecord | undefined;
  setProcess(name: string, pid: number): void;
  release(): void;
}

/** The file is there but in the middle of being taken over by another start; it settles within this time. */
const TAKE_OVER_PAUSE_MS = 50;
const TRIES = 20;

/**
 * Claims the data folder for this process.
 *
 * @throws Error with a sentence when a living system has it
 */
export async function claimRunFile(dataFolder: string, script: string): Promise<RunFile> {
  const file = join(dataFolder, 'running.json');
  const record: RunRecord = { launcher: process.pid, script, since: new Date().toISOString(), processes: {} };
  let left: RunRecord | undefined;
  for (let attempt = 0; attempt < TRIES; attempt++) {
    if (createWhole(file, record)) return runFile(file, record, left);
    const text = readText(file);
    const found = text === undefined ? undefined : parseRecord(text);
    if (found !== undefined && isAlive(found)) throw new Error(alreadyRuns(found, dataFolder));
    if (text !== undefined && setAside(file, text)) left = found;
    else await sleep(TAKE_OVER_PAUSE_MS);
  }
  throw new Error(`Cannot claim ${file}: other starts take it at the same time. Try again.`);
}

/** What may still run on the folder: as the last owner wrote it down, and as the servers' own pid files have it. */
export function possibleLeftovers(dataFolder: string, left: RunRecord | undefined): Record<string, number> {
  const found: Record<string, number> = { ...left?.processes };
  for (const [name, file] of [
    ['redis', join(dataFolder, 'redis', 'redis.pid')],
    ['postgres', join(dataFolder, 'postgres', 'cluster', 'postmaster.pid')],
  ] as const) {
    const pid = Number.parseInt(readText(file) ?? '', 10);
    if (Number.isInteger(pid) && pid > 1) found[name] = pid;
  }
  return found;
}

/**
 * Ends what a killed launcher left running: first the apps, then the servers, each only when its command line carries our
 * data folder.
 */
export async function endLeftovers(
  processes: Record<string, number>,
  dataFolder: string,
  timeoutMs: number,
  say: (line: string) => void,
): Promise<void> {
  const ours = Object.entries(processes).filter(([, pid]) => pid !== process.pid && worksIn(pid, dataFolder));
  const isServer = (name: string) => name === 'redis' || name === 'postgres';
  for (const group of [ours.filter(([name]) => !isServer(name)), ours.filter(([name]) => isServer(name))]) {
    await Promise.all(
      group.map(async ([name, pid]) => {
        say(`ends ${name} (pid ${pid}), left behind by a start that was killed`);
        // SIGINT is PostgreSQL's "fast" shutdown: it does not wait for clients.
        const signal = name === 'postgres' ? 'SIGINT' : 'SIGTERM';
        await endProcess(pid, signal, timeoutMs, () => worksIn(pid, dataFolder));
      }),
    );
  }
}

/** Appears with all its content or not at all. False when the file exists. */
function createWhole(file: string, record: RunRecord): boolean {
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, asText(record));
  try {
    linkSync(draft, file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    rmSync(draft, { force: true });
  }
}

/** Takes the dead owner's file away, unless another start was faster and the file is now that one's. */
function setAside(file: string, judged: string): boolean {
  const aside = `${file}.left-${process.pid}`;
  try {
    renameSync(file, aside);
  } catch {
    return false;
  }
  const same = readText(aside) === judged;
  try {
    if (!same) linkSync(aside, file);
  } finally {
    rmSync(aside, { force: true });
  }
  return same;
}

function runFile(file: string, record: RunRecord, left: RunRecord | undefined): RunFile {
  return {
    left,
    setProcess(name, pid) {
      record.processes[name] = pid;
      const draft = `${file}.${process.pid}`;
      writeFileSync(draft, asText(record));
      renameSync(draft, file);
    },
    release: () => rmSync(file, { force: true }),
  };
}

function isAlive(record: RunRecord): boolean {
  return record.launcher !== process.pid && (commandLine(record.launcher) ?? '').includes(record.script);
}

function alreadyRuns(record: RunRecord, dataFolder: string): string {
  return (
    `The system already runs on ${dataFolder} (pid ${record.launcher}, since ${record.since}). ` +
    `Stop it with Ctrl-C there or "kill ${record.launcher}", or run a second one apart: DATA_DIR=.data-2 PORT=5002 npm start`
  );
}

const asText = (record: RunRecord) => `${JSON.stringify(record, null, 2)}\n`;

function readText(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

function parseRecord(content: string): RunRecord | undefined {
  try {
    const value = JSON.parse(content) as Partial<RunRecord>;
    if (!Number.isInteger(value.launcher) || typeof value.script !== 'string') return undefined;
    return { since: 'an unknown time', processes: {}, ...value } as RunRecord;
  } catch {
    return undefined;
  }
}

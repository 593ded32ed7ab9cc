/** Starts a private Redis or PostgreSQL on a port of its own and waits until it answers. */
import { mkdirSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { keptPort, portState } from './free-port.ts';
import { type KeepOptions, type KeptProcess, keepProcess } from './keep-process.ts';

export interface PrivateServerOptions {
  /** Holds data, secrets and logs. Created where it does not exist. */
  readonly folder: string;
  readonly say?: (line: string) => void;
  /** false: stays down when it dies (a test that kills it on purpose). */
  readonly restart?: boolean;
  /** Milliseconds after the stop signal until it is killed. */
  readonly stopTimeoutMs?: number;
  /** Called at each start of its process. */
  readonly onStarted?: (kept: KeptProcess) => void;
  /** Aborted before the server answers: it is stopped. */
  readonly signal?: AbortSignal | undefined;
}

export interface PrivateServer {
  /** Address with the password. */
  readonly url: string;
  readonly port: number;
  /** For people: "7.0.15". */
  readonly version: string;
  /** Undefined while it is down. */
  readonly pid: number | undefined;
  stop(): Promise<void>;
  /** SIGKILL, without waiting. */
  kill(): void;
}

/** What differs between the two. */
export interface ServerProgram extends Pick<KeepOptions, 'cwd' | 'env' | 'stopSignal'> {
  readonly name: 'redis' | 'postgres';
  /** Keeps the port. */
  readonly portFile: string;
  url(port: number): string;
  command(port: number): readonly string[];
  /** @returns its version. Rejects while it does not answer */
  check(url: string): Promise<string>;
}

/** Milliseconds to recover after a crash. The append-only file and the log grow with the orders of a sale. */
const READY_WITHIN_MS = 60_000;
const POLL_MS = 50;
const TRIES = 3;

/** @throws Error when it exits before it answers, or does not answer in time; or the signal's reason */
export async function startPrivateServer(
  { folder, signal, ...keepOptions }: PrivateServerOptions,
  { name, portFile, url: urlAt, command: commandAt, check, ...spawnOptions }: ServerProgram,
): Promise<PrivateServer> {
  for (let attempt = 1; ; attempt++) {
    const port = await keptPort(portFile);
    signal?.throwIfAborted();
    const url = urlAt(port);
    const [command = '', ...args] = commandAt(port);
    const logFile = join(folder, 'logs', `${name}.log`);
    const kept = keepProcess({ ...spawnOptions, ...keepOptions, name, kind: 'server', command, args, logFile });
    const waiting = new AbortController();
    try {
      const version = answer(() => check(url), waiting.signal);
      await Promise.race([version, kept.ready, rejectWhenAborted(signal)]);
      kept.markReady();
      return {
        url,
        port,
        version: await version,
        get pid() {
          return kept.pid;
        },
        stop: () => kept.stop(),
        kill: () => kept.kill(),
      };
    } catch (error) {
      await kept.stop();
      // Another program took the port between our look and the server's start.
      const isTaken = attempt < TRIES && !signal?.aborted && (await portState(port)) !== 'free';
      if (!isTaken) throw error;
    } finally {
      waiting.abort();
    }
  }
}

/** @throws the check's last error when the time is over, or nobody waits any more */
async function answer(check: () => Promise<string>, over: AbortSignal): Promise<string> {
  for (const deadline = Date.now() + READY_WITHIN_MS; ; await sleep(POLL_MS)) {
    try {
      return await check();
    } catch (error) {
      if (over.aborted || Date.now() >= deadline) throw error;
    }
  }
}

/** Rejects with the signal's reason once it is aborted; never resolves. */
export function rejectWhenAborted(signal: AbortSignal | undefined): Promise<never> {
  return new Promise((_, reject) => {
    const fail = () => reject(signal?.reason);
    if (signal?.aborted) fail();
    else signal?.addEventListener('abort', fail, { once: true });
  });
}

/** The folder by its canonical name: command lines are searched for it later. */
export function ownFolder(folder: string): string {
  mkdirSync(folder, { recursive: true });
  return realpathSync(folder);
}

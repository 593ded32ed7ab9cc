/** Starts a private Redis or PostgreSQL on a port of its own and waits until it answers. */
import { randomInt } from 'node:crypto';
import { mkdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type KeepOptions, KeptProcess } from './keep-process.ts';

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
    const kept = new KeptProcess({ ...spawnOptions, ...keepOptions, name, kind: 'server', command, args, logFile });
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

/**
 * Below the ports that systems give to outgoing connections (Linux: from 32768, others: from 49152). In that range a
 * client that reconnects while its server restarts could be given the server's own port, connect to itself, and keep
 * the server out.
 */
const PRIVATE_PORTS = { from: 20_000, below: 30_000 };

const PORT_TRIES = 50;

/** @returns 'free', or the code of the error that listening fails with: EADDRINUSE, EACCES, EADDRNOTAVAIL */
function portState(port: number, host = '127.0.0.1'): Promise<string> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ port, host, exclusive: true }, () => server.close(() => resolve('free')));
  });
}

/** @throws Error with a sentence that says what is wrong with the port and how to choose another */
export async function requireListenable(port: number, host: string): Promise<void> {
  const state = await portState(port, host);
  if (state === 'free') return;
  const another = `PORT=${port === 5_001 ? 5_002 : 5_001} npm start`;
  const sentences: Record<string, string> = {
    EADDRINUSE: `Port ${port} on ${host} is taken by another program. Stop that program, or choose another port: ${another}`,
    EACCES: `Port ${port} may not be used by this account. Choose one above 1023: ${another}`,
  };
  throw new Error(
    sentences[state] ??
      `HOST=${host} is not an address of this machine (${state}). Use HOST=127.0.0.1, or HOST=0.0.0.0 for every address.`,
  );
}

/** The port written in `file` while it is free, else a new one, which is written there: addresses survive restarts. */
export async function keptPort(file: string): Promise<number> {
  const kept = readPort(file);
  if (kept !== undefined && (await portState(kept)) === 'free') return kept;
  for (let attempt = 0; attempt < PORT_TRIES; attempt++) {
    const port = randomInt(PRIVATE_PORTS.from, PRIVATE_PORTS.below);
    if ((await portState(port)) !== 'free') continue;
    writeFileSync(file, `${port}\n`);
    return port;
  }
  throw new Error(`No port from ${PRIVATE_PORTS.from} to ${PRIVATE_PORTS.below - 1} is free on 127.0.0.1.`);
}

function readPort(file: string): number | undefined {
  try {
    const port = Number(readFileSync(file, 'utf8').trim());
    return Number.isInteger(port) && port > 0 && port < 65_536 ? port : undefined;
  } catch {
    return undefined;
  }
}

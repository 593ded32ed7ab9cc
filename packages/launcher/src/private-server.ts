/** Starts a private Redis or PostgreSQL on a port of its own and waits until it answers. */
import { randomInt } from 'node:crypto';
import { mkdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { listenFault } from '@flash-sale/core/runtime/unfit-server.ts';
import { type KeepOptions, KeptProcess } from './keep-process.ts';

export interface PrivateServerOptions extends Pick<KeepOptions, 'say' | 'restart' | 'stopTimeoutMs' | 'onStarted'> {
  /** Folder for data, secrets and logs. Created if it does not exist. */
  readonly folder: string;
  /** If it is aborted before the server answers, the server is stopped. */
  readonly signal?: AbortSignal | undefined;
}

export type PrivateServer = KeptProcess & {
  /** Address with the password. */
  readonly url: string;
  readonly port: number;
  /** For people: "7.0.15". */
  readonly version: string;
};

/** What differs between Redis and PostgreSQL. */
export interface ServerProgram extends Pick<KeepOptions, 'cwd' | 'env' | 'stopSignal'> {
  readonly name: 'redis' | 'postgres';
  /** Stores the port between starts. */
  readonly portFile: string;
  url(port: number): string;
  command(port: number): readonly string[];
  /** @returns its version. Rejects while it does not answer */
  check(url: string): Promise<string>;
}

/** Milliseconds to become ready, with crash recovery of a large append-only file or WAL. */
export const READY_WITHIN_MS = 60_000;
const POLL_MS = 50;
const TRIES = 3;

/** @throws Error if it exits or does not answer in time; the signal's reason if aborted */
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
      const version = untilAnswers(() => check(url), waiting.signal);
      await Promise.race([version, kept.ready, rejectWhenAborted(signal)]);
      kept.markReady();
      return Object.assign(kept, { url, port, version: await version });
    } catch (error) {
      await kept.stop();
      // Another program took the port between the check and the start.
      const isTaken = attempt < TRIES && !signal?.aborted && (await portState(port)) !== 'free';
      if (!isTaken) throw error;
    } finally {
      waiting.abort();
    }
  }
}

/** @throws the last error of the check after READY_WITHIN_MS, or once `over` is aborted */
export async function untilAnswers<Answer>(check: () => Promise<Answer>, over: AbortSignal): Promise<Answer> {
  for (const deadline = performance.now() + READY_WITHIN_MS; ; await sleep(POLL_MS)) {
    try {
      return await check();
    } catch (error) {
      if (over.aborted || performance.now() >= deadline) throw error;
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

/** Creates the folder. @returns its canonical path, by which leftover processes are identified */
export function ownFolder(folder: string): string {
  mkdirSync(folder, { recursive: true });
  return realpathSync(folder);
}

/**
 * Below the ephemeral ports (Linux: from 32768, others: from 49152). In that range, a client that
 * reconnects while its server is down could get the server's port as its local port, connect to
 * itself, and block the port.
 */
const PRIVATE_PORTS = { from: 20_000, below: 30_000 };

const PORT_TRIES = 50;

/** @returns 'free', or the error code of listen(): EADDRINUSE, EACCES, EADDRNOTAVAIL */
function portState(port: number, host = '127.0.0.1'): Promise<string> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ port, host, exclusive: true }, () => server.close(() => resolve('free')));
  });
}

/** @throws Error that says why the port cannot be used, and how to choose another */
export async function requireListenable(setting: string, port: number, host: string): Promise<void> {
  const state = await portState(port, host);
  if (state !== 'free') throw new Error(listenFault(setting, { port, host }, state));
}

/** @returns the port stored in `file` if it is free, else a new one, which is stored there */
export async function keptPort(file: string): Promise<number> {
  const kept = readPort(file);
  if (kept !== null && (await portState(kept)) === 'free') return kept;
  for (let attempt = 0; attempt < PORT_TRIES; attempt++) {
    const port = randomInt(PRIVATE_PORTS.from, PRIVATE_PORTS.below);
    if ((await portState(port)) !== 'free') continue;
    // A file that could not be read cannot be written either.
    rmSync(file, { force: true });
    writeFileSync(file, `${port}\n`);
    return port;
  }
  throw new Error(`No port from ${PRIVATE_PORTS.from} to ${PRIVATE_PORTS.below - 1} is free on 127.0.0.1.`);
}

/** @returns null if the file has no port, or cannot be read */
function readPort(file: string): number | null {
  try {
    const port = Number(readFileSync(file, 'utf8'));
    return Number.isInteger(port) && port > 0 && port < 65_536 ? port : null;
  } catch {
    return null;
  }
}

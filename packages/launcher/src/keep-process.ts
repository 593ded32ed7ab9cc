/**
 * Keeps one child process running.
 *
 * 1. It runs in its own process group, so that Ctrl-C reaches only the launcher, which stops its
 *    children in the right order.
 * 2. When it exits it is restarted: at once if it had run well, otherwise with exponential backoff.
 * 3. It fails if a restart cannot help: before it was ever ready, an app exits with EX_CONFIG, or a
 *    server or a process that is not to be restarted exits with any code.
 */
import { appendFileSync, mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { LOG_FILE_BYTES, setAside } from '@flash-sale/core/runtime/rotated-file.ts';
import { execa, type ResultPromise } from 'execa';

/** sysexits.h: the configuration is wrong. Restarting the process unchanged does not help. */
export const EX_CONFIG = 78;

/** Lines of output shown when a process could not start. */
const LAST_LINES = 20;

/** Rotated log files kept for a server. Apps rotate their own files (rotated-file.ts). */
const SERVER_LOGS_MAX = 1;

/**
 * Milliseconds: first and longest backoff, and how long a process has run well: an app since it was
 * ready, a server since its start. The last also bounds how often a process is restarted at once.
 */
const BACKOFF = { firstMs: 250, mostMs: 10_000, steadyMs: 1_000 };

export interface KeepOptions {
  /** api-1, redis */
  readonly name: string;
  /**
   * app: reports `{ready: true}` over IPC and stops when the launcher ends. server: the caller
   * calls markReady().
   */
  readonly kind: 'app' | 'server';
  readonly command: string;
  readonly args: readonly string[];
  /** Receives stdout and stderr. An app also writes its log lines to this file. */
  readonly logFile: string;
  readonly say?: ((line: string) => void) | undefined;
  readonly cwd?: string;
  /** Replaces this process's environment. */
  readonly env?: NodeJS.ProcessEnv;
  /** false: it is not restarted (for tests that kill it). */
  readonly restart?: boolean | undefined;
  readonly stopSignal?: NodeJS.Signals;
  /** Milliseconds between the stop signal and SIGKILL. */
  readonly stopTimeoutMs?: number | undefined;
  /** For tests. */
  readonly backoff?: typeof BACKOFF;
  /** Called at each start. */
  readonly onStarted?: ((kept: KeptProcess, pid: number) => void) | undefined;
}

export class KeptProcess {
  readonly name: string;
  readonly logFile: string;
  /** Resolves at the first readiness; rejects when it fails or is stopped before that. */
  readonly ready: Promise<void>;
  readonly #options: KeepOptions;
  readonly #ready = Promise.withResolvers<void>();
  readonly #stopping = new AbortController();
  readonly #ended: Promise<void>;
  #child: Pick<ResultPromise, 'pid' | 'kill'> | undefined;
  #isReady = false;
  /** Of its present life; Infinity before it is ready. */
  #runsWellSince = Number.POSITIVE_INFINITY;
  #lastLines: string[] = [];

  constructor(options: KeepOptions) {
    this.#options = options;
    this.name = options.name;
    this.logFile = options.logFile;
    this.ready = this.#ready.promise;
    // Prevents an unhandled rejection if the caller does not await it.
    this.ready.catch(() => {});
    mkdirSync(dirname(options.logFile), { recursive: true });
    this.#ended = this.#keep();
  }

  /** Undefined during the backoff and after the end. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  markReady(): void {
    this.#isReady = true;
    this.#runsWellSince = Math.min(this.#runsWellSince, performance.now());
    this.#ready.resolve();
  }

  /** Resolves when the process has ended. Idempotent. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#ready.reject(new Error(`${this.name} was stopped before it was ready.`));
    this.#child?.kill();
    await this.#ended;
  }

  /** SIGKILL, without waiting. */
  kill(): void {
    this.#child?.kill('SIGKILL');
  }

  async #keep(): Promise<void> {
    const { kind, restart = true, backoff = BACKOFF, say } = this.#options;
    const { signal } = this.#stopping;
    for (let exits = 0; !signal.aborted; ) {
      this.#runsWellSince = kind === 'server' ? performance.now() : Number.POSITIVE_INFINITY;
      const { exitCode, how } = await this.#run();
      if (signal.aborted) return;
      if (!this.#isReady && (kind === 'server' || exitCode === EX_CONFIG || !restart)) {
        const lines = this.#lastLines.map((line) => `\n  ${line}`).join('');
        return this.#ready.reject(
          new Error(`${this.name} could not start (${how}).${lines || ` Log: ${this.logFile}`}`),
        );
      }
      if (!restart) return;
      exits = performance.now() - this.#runsWellSince >= backoff.steadyMs ? 0 : exits + 1;
      const delay = exits === 0 ? 0 : Math.min(backoff.firstMs * 2 ** (exits - 1), backoff.mostMs);
      const when = exits === 0 ? 'at once' : `in ${delay / 1000} s`;
      say?.(`${this.name} exited (${how}); restarts ${when}. Log: ${this.logFile}`);
      if (delay > 0) await sleep(delay, undefined, { signal }).catch(() => {});
    }
  }

  /** Starts the process and waits for its exit. */
  async #run(): Promise<{ exitCode: number | undefined; how: string }> {
    const { name, kind, command, args, cwd = '.', env = process.env, say, onStarted } = this.#options;
    const { stopSignal = 'SIGTERM', stopTimeoutMs = 5_000 } = this.#options;
    this.#lastLines = [];
    const child = execa(command, args, {
      cwd,
      env,
      extendEnv: false,
      stdin: 'ignore',
      all: true,
      buffer: false,
      ...(kind === 'app' ? { ipc: true, serialization: 'json' } : {}),
      killDescendants: true,
      killSignal: stopSignal,
      forceKillAfterDelay: stopTimeoutMs,
      reject: false,
    });
    this.#child = child;
    child.all.setEncoding('utf8').on('data', (text: string) => this.#log(text));
    child.nodeChildProcess.on('message', (message) => {
      if ((message as { ready?: unknown } | null)?.ready === true) this.markReady();
    });
    if (child.pid !== undefined) onStarted?.(this, child.pid);
    const { exitCode, signal, isForcefullyTerminated, originalMessage } = await child;
    this.#child = undefined;
    if (isForcefullyTerminated) say?.(`${name} did not stop within ${stopTimeoutMs / 1000} s and was killed.`);
    return { exitCode, how: signal ?? (exitCode === undefined ? `${originalMessage}` : `exit code ${exitCode}`) };
  }

  #log(text: string): void {
    const { kind, logFile } = this.#options;
    const lines = text.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('{"'));
    this.#lastLines = [...this.#lastLines, ...lines].slice(-LAST_LINES);
    try {
      appendFileSync(logFile, text, { mode: 0o640 });
      if (kind === 'server' && statSync(logFile).size > LOG_FILE_BYTES) setAside(logFile, SERVER_LOGS_MAX);
    } catch {
      // A full disk must not stop the system.
    }
  }
}

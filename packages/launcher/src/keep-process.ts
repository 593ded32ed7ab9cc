/**
 * Keeps one child process running.
 *
 * 1. Starts it in a process group of its own: a terminal's Ctrl-C reaches us, and we stop it in the right order.
 * 2. Its stdout and stderr go into a log file, written by the child itself.
 * 3. When it dies it is started again, after a pause that doubles as long as it keeps dying, with a line that says so.
 * 4. Where starting again cannot help (a wrong setting, EX_CONFIG; or, for a server, any end before it was ever ready)
 *    it gives up: `ready` rejects and `gaveUp` resolves, with the child's last words.
 * 5. stop() asks with a signal, and kills when that is not heard in time.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import { copyAside, lastLines, openLog } from './log-file.ts';
import { signalProcess } from './process-table.ts';

/** sysexits.h: the configuration is wrong. The apps' mains end with it when starting again cannot help. */
export const EX_CONFIG = 78;

const LAST_WORDS = 20;

/** Milliseconds between two looks at the size of a log. */
const LOG_LOOK_MS = 10_000;

export interface Backoff {
  /** Milliseconds before the first new start; doubled each time. */
  readonly firstMs: number;
  readonly mostMs: number;
  /** Milliseconds of life after which the next death counts as the first one again. */
  readonly steadyMs: number;
}

export interface KeepOptions {
  /** As people read it: api-1, redis. */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly logFile: string;
  /** It writes its lines to the file by its name, and sets it aside itself. */
  readonly ownsLog?: boolean;
  readonly say: (line: string) => void;
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly uid?: number;
  readonly gid?: number;
  /** A Node child that says `{ready: true}` over IPC, and stops by itself once we are gone. Else call markReady(). */
  readonly ipc?: boolean;
  /** What an end before the first readiness means. EX_CONFIG gives up in either case. */
  readonly beforeReady?: 'restart' | 'give-up';
  /** false: stays dead when it dies (a test that kills it on purpose). */
  readonly restart?: boolean;
  readonly stopSignal?: NodeJS.Signals;
  readonly backoff?: Backoff;
  /** Told of each start, with the pid to remember. */
  readonly onStarted?: (pid: number) => void;
}

export interface KeptProcess {
  readonly name: string;
  readonly logFile: string;
  /** Undefined while it waits to be started again, and after its end. */
  readonly pid: number | undefined;
  /** Ready for the first time; rejects when it gave up before that, or was stopped. */
  readonly ready: Promise<void>;
  /** Resolves when it is given up; never rejects. */
  readonly gaveUp: Promise<Error>;
  markReady(): void;
  /** Resolves when it is gone. Safe to call again. */
  stop(timeoutMs: number): Promise<void>;
  /** Ends it at once, without waiting. */
  kill(): void;
}

export const BACKOFF: Backoff = { firstMs: 250, mostMs: 10_000, steadyMs: 30_000 };

/** Milliseconds before start number `deaths` + 1, when each life before it was short. */
export function restartDelay(deaths: number, backoff: Backoff): number {
  return Math.min(backoff.firstMs * 2 ** Math.max(deaths - 1, 0), backoff.mostMs);
}

export function keepProcess(options: KeepOptions): KeptProcess {
  const keeper = new Keeper(options);
  keeper.start();
  return keeper;
}

class Keeper implements KeptProcess {
  readonly name: string;
  readonly logFile: string;
  readonly ready: Promise<void>;
  readonly gaveUp: Promise<Error>;
  readonly #options: KeepOptions;
  readonly #backoff: Backoff;
  #resolveReady!: () => void;
  #rejectReady!: (error: Error) => void;
  #resolveGaveUp!: (error: Error) => void;
  #child: ChildProcess | undefined;
  #ended: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #startedAt = 0;
  #logFrom = 0;
  #deaths = 0;
  #everReady = false;
  #stopping = false;
  readonly #logTimer: NodeJS.Timeout | undefined;

  constructor(options: KeepOptions) {
    this.#options = options;
    this.#backoff = options.backoff ?? BACKOFF;
    this.name = options.name;
    this.logFile = options.logFile;
    if (!options.ownsLog) this.#logTimer = setInterval(() => copyAside(this.logFile), LOG_LOOK_MS).unref();
    this.ready = new Promise((resolve, reject) => {
      this.#resolveReady = resolve;
      this.#rejectReady = reject;
    });
    // Whoever does not wait for readiness must not be ended by its rejection.
    this.ready.catch(() => {});
    this.gaveUp = new Promise((resolve) => {
      this.#resolveGaveUp = resolve;
    });
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  markReady(): void {
    this.#everReady = true;
    this.#resolveReady();
  }

  start(): void {
    const { command, args, cwd, env, uid, gid, ipc } = this.#options;
    const log = openLog(this.logFile);
    this.#logFrom = log.size;
    this.#startedAt = performance.now();
    const child = spawn(command, args, {
      detached: true,
      stdio: ['ignore', log.fd, log.fd, ...(ipc ? (['ipc'] as const) : [])],
      ...(cwd === undefined ? {} : { cwd }),
      ...(env === undefined ? {} : { env }),
      ...(uid === undefined ? {} : { uid }),
      ...(gid === undefined ? {} : { gid }),
    });
    closeSync(log.fd);
    this.#child = child;
    this.#ended = new Promise((resolve) => {
      const end = (how: string, code: number | null) => {
        if (this.#child !== child) return;
        this.#child = undefined;
        resolve();
        this.#afterEnd(how, code);
      };
      child.once('error', (error) => {
        // Also raised when a message cannot be sent; the process is gone only if it never started.
        if (child.pid === undefined) end(error.message, null);
      });
      child.once('exit', (code, signal) => end(signal === null ? `exit code ${code}` : signal, code));
    });
    child.on('message', (message) => {
      if ((message as { ready?: unknown } | null)?.ready === true) this.markReady();
    });
    if (child.pid !== undefined) this.#options.onStarted?.(child.pid);
  }

  #afterEnd(how: string, code: number | null): void {
    if (this.#stopping) return;
    const givesUp = code === EX_CONFIG || (this.#options.beforeReady === 'give-up' && this.#options.restart !== false);
    if (!this.#everReady && givesUp) {
      this.#giveUp(how);
      return;
    }
    if (this.#options.restart === false) {
      this.#rejectReady(new Error(`${this.name} ended (${how}) before it was ready.${this.#lastWords()}`));
      return;
    }
    const lived = performance.now() - this.#startedAt;
    this.#deaths = lived >= this.#backoff.steadyMs ? 1 : this.#deaths + 1;
    const delay = restartDelay(this.#deaths, this.#backoff);
    this.#options.say(`${this.name} ended (${how}); starts again in ${delay / 1000} s. Log: ${this.logFile}`);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.start();
    }, delay);
  }

  #giveUp(how: string): void {
    const error = new Error(`${this.name} could not start (${how}).${this.#lastWords()}`);
    this.#rejectReady(error);
    this.#resolveGaveUp(error);
  }

  #lastWords(): string {
    const lines = lastLines(this.logFile, this.#logFrom, LAST_WORDS);
    return lines.length === 0 ? ` Log: ${this.logFile}` : `\n${lines.map((line) => `  ${line}`).join('\n')}`;
  }

  async stop(timeoutMs: number): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#timer);
    clearInterval(this.#logTimer);
    this.#rejectReady(new Error(`${this.name} was stopped before it was ready.`));
    const pid = this.#child?.pid;
    if (pid === undefined) return;
    signalProcess(pid, this.#options.stopSignal ?? 'SIGTERM');
    const timer = setTimeout(() => {
      this.#options.say(`${this.name} did not stop within ${timeoutMs / 1000} s and is killed.`);
      this.kill();
    }, timeoutMs);
    await this.#ended;
    clearTimeout(timer);
  }

  kill(): void {
    this.#stopping = true;
    clearTimeout(this.#timer);
    clearInterval(this.#logTimer);
    const pid = this.#child?.pid;
    if (pid !== undefined && !signalProcess(-pid, 'SIGKILL')) signalProcess(pid, 'SIGKILL');
  }
}

/**
 * An API or a worker as a process of its own, by its main.ts, that is killed, frozen and started again. It is kept running while it is
 * wanted: a process that gives up because a server is away for too long (code 78 before it was ready) is started again, as a supervisor would.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { signalProcess } from '@flash-sale/launcher/process-table.ts';

const STARTS_AGAIN_AFTER_MS = 250;

/** EX_CONFIG: what a process says that did not find its servers, or found its port taken. */
const EX_CONFIG = 78;

export interface PartOptions {
  readonly name: string;
  readonly main: string;
  readonly env: NodeJS.ProcessEnv;
  readonly logFile: string;
  /** It ended, and nobody had asked for it. Before it was ready and with code 78 does not count: it did not find its servers. */
  readonly onFall: (name: string, how: string, wasReady: boolean) => void;
}

export class PartProcess {
  readonly name: string;
  readonly #options: PartOptions;
  #child: ChildProcess | undefined;
  #wanted = false;
  #frozen = false;
  #over = false;
  #ready = Promise.withResolvers<void>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: PartOptions) {
    this.name = options.name;
    this.#options = options;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Resolves once it says that it is ready, however often it has to be started for that. */
  start(): Promise<void> {
    if (this.#over) return Promise.resolve();
    this.#wanted = true;
    if (this.#child === undefined && this.#timer === undefined) this.#spawn();
    return this.#ready.promise;
  }

  #spawn(): void {
    const { name, main, env, logFile, onFall } = this.#options;
    mkdirSync(dirname(logFile), { recursive: true });
    const log = openSync(logFile, 'a', 0o640);
    const child = spawn(process.execPath, [main], {
      env,
      // A group of its own: a terminal's Ctrl-C reaches us, and we end it.
      detached: true,
      stdio: ['ignore', log, log, 'ipc'],
    });
    closeSync(log);
    this.#child = child;
    let wasReady = false;
    child.on('message', (message) => {
      if ((message as { ready?: unknown } | null)?.ready !== true) return;
      wasReady = true;
      this.#ready.resolve();
    });
    child.on('error', () => {});
    child.once('exit', (code, signal) => {
      if (this.#child !== child) return;
      this.#child = undefined;
      this.#frozen = false;
      if (wasReady) this.#ready = Promise.withResolvers();
      if (!this.#wanted) return;
      if (wasReady || code !== EX_CONFIG) onFall(name, signal ?? `exit code ${code}`, wasReady);
      this.#timer = setTimeout(() => {
        this.#timer = undefined;
        if (this.#wanted) this.#spawn();
      }, STARTS_AGAIN_AFTER_MS);
    });
  }

  /** SIGKILL, and it stays dead until start(). Resolves when it is gone. */
  async kill(): Promise<void> {
    this.#wanted = false;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const child = this.#child;
    if (child?.pid === undefined) return;
    const gone = once(child, 'exit');
    // The group, for what it may have started; it is the leader of it.
    if (!signalProcess(-child.pid, 'SIGKILL')) signalProcess(child.pid, 'SIGKILL');
    await gone;
  }

  /** For good: it is not started again, whoever asks. */
  async end(): Promise<void> {
    this.#over = true;
    await this.kill();
    this.#ready.resolve();
  }

  /** @returns false where there is nobody to freeze */
  freeze(): boolean {
    this.#frozen = this.pid !== undefined && signalProcess(this.pid, 'SIGSTOP');
    return this.#frozen;
  }

  thaw(): void {
    if (this.#frozen && this.pid !== undefined) signalProcess(this.pid, 'SIGCONT');
    this.#frozen = false;
  }
}

/** An API or a worker of a chaos run. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { signalProcess } from '@flash-sale/launcher/process-table.ts';

export const RESTART_AFTER_MS = 250;
/** EX_CONFIG: the process did not find its servers. */
const EX_CONFIG = 78;

/**
 * An API or a worker that is kept running: one that exits with 78 before it was ready is started
 * again, as a supervisor would.
 */
export class ServiceProcess {
  readonly #start: () => ChildProcess;
  readonly #onExit: (how: string, wasReady: boolean) => void;
  #child: ChildProcess | undefined;
  #wanted = false;
  #ready = Promise.withResolvers<void>();

  constructor(start: () => ChildProcess, onExit: (how: string, wasReady: boolean) => void) {
    this.#start = start;
    this.#onExit = onExit;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Resolves once it is ready, after any number of starts. */
  start(): Promise<void> {
    this.#wanted = true;
    if (this.#child === undefined) this.#spawn();
    return this.#ready.promise;
  }

  #spawn(): void {
    const child = this.#start();
    this.#child = child;
    let wasReady = false;
    child.on('message', () => {
      wasReady = true;
      this.#ready.resolve();
    });
    child.on('error', () => {});
    child.once('exit', (code, signal) => {
      this.#child = undefined;
      if (wasReady) this.#ready = Promise.withResolvers();
      if (!this.#wanted) return;
      if (wasReady || code !== EX_CONFIG) this.#onExit(signal ?? `exit code ${code}`, wasReady);
      setTimeout(() => {
        if (this.#wanted && this.#child === undefined) this.#spawn();
      }, RESTART_AFTER_MS);
    });
  }

  /** By this much, ahead or back; not in effect before the process is there. */
  stepClock(clockStepMs: number): void {
    this.#child?.send({ clockStepMs }, () => {});
  }

  /** SIGKILL of its group; it stays dead until start(). Resolves when it is gone. */
  async kill(): Promise<void> {
    this.#wanted = false;
    const child = this.#child;
    if (child?.pid === undefined) return;
    const gone = once(child, 'exit');
    signalProcess(-child.pid, 'SIGKILL');
    await gone;
  }

  /** SIGKILL for good; pending start() calls resolve. */
  async end(): Promise<void> {
    await this.kill();
    this.#ready.resolve();
  }
}

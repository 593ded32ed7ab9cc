/** Runs a command to its end and collects what it said; a command that is not there is an answer, not an exception. */
import { spawn } from 'node:child_process';

export interface CommandResult {
  /** Exit code; 127 when there is no such command, 124 when it took too long, 128 when a signal ended it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly timeoutMs?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly signal?: AbortSignal | undefined;
  /** Text for its standard input. */
  readonly input?: string;
}

export type RunCommand = (command: string, args: readonly string[], options?: CommandOptions) => Promise<CommandResult>;

const TIMEOUT_MS = 120_000;

/** In a process group of its own: Ctrl-C in the terminal is for us, and `options.signal` ends the whole group. */
export const runCommand: RunCommand = (command, args, options = {}) =>
  new Promise((resolve) => {
    const { timeoutMs = TIMEOUT_MS, signal, input = '', ...spawnOptions } = options;
    const child = spawn(command, args, { ...spawnOptions, detached: true, stdio: ['pipe', 'pipe', 'pipe'] });
    // A command that does not read its input may close it early.
    child.stdin.on('error', () => {}).end(input);
    let stdout = '';
    let stderr = '';
    let late = false;
    const end = () => {
      if (child.pid === undefined) return;
      try {
        process.kill(-child.pid, 'SIGKILL');
      } catch {
        child.kill('SIGKILL');
      }
    };
    const timer = setTimeout(() => {
      late = true;
      end();
    }, timeoutMs);
    const finish = (code: number) => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', end);
      resolve({ code, stdout, stderr });
    };
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.once('error', (error: NodeJS.ErrnoException) => {
      stderr += error.message;
      finish(error.code === 'ENOENT' ? 127 : 126);
    });
    child.once('close', (code) => finish(late ? 124 : (code ?? 128)));
    if (signal?.aborted) end();
    signal?.addEventListener('abort', end, { once: true });
  });

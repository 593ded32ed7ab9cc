/**
 * Runs a command and waits for it. A missing command or a failure is a result, not an exception.
 */
import { execa } from 'execa';

export interface CommandResult {
  /**
   * Exit code; 127: no such command, 124: timed out, 128: ended by a signal, 126: could not be
   * started.
   */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

interface CommandOptions {
  readonly cwd?: string;
  /** Replaces this process's environment. */
  readonly env?: NodeJS.ProcessEnv;
  readonly timeoutMs?: number;
  /** If it is aborted, the command and its descendants are killed. */
  readonly signal?: AbortSignal | undefined;
  /** Text for its standard input. */
  readonly input?: string;
}

export type RunCommand = (command: string, args: readonly string[], options?: CommandOptions) => Promise<CommandResult>;

const TIMEOUT_MS = 120_000;

export const runCommand: RunCommand = async (command, args, options = {}) => {
  const { timeoutMs: timeout = TIMEOUT_MS, signal, input = '', ...rest } = options;
  const result = await execa(command, args, {
    ...rest,
    ...(signal === undefined ? {} : { cancelSignal: signal }),
    extendEnv: rest.env === undefined,
    input,
    timeout,
    // This also creates a process group, so that Ctrl-C in the terminal reaches only this process.
    killDescendants: true,
    reject: false,
    stripFinalNewline: false,
  });
  const { exitCode, stdout = '', stderr = '' } = result;
  if (result.timedOut) return { code: 124, stdout, stderr };
  if (exitCode !== undefined) return { code: exitCode, stdout, stderr };
  if (result.signal !== undefined) return { code: 128, stdout, stderr };
  return { code: result.code === 'ENOENT' ? 127 : 126, stdout, stderr: result.originalMessage ?? '' };
};

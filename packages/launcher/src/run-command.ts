/** Runs a command and waits for it. A failure or a missing command is a result, no exception. */
import { execa } from 'execa';

export const runCommand = execa({
  reject: false,
  timeout: 120_000,
  input: '',
  stripFinalNewline: false,
  // This also creates a process group, so that Ctrl-C in the terminal reaches only this process.
  killDescendants: true,
});

/** Programs that tests run: on PATH, or unpacked from a Debian package. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type UnpackedProgram, unpackDebianProgram, unpackedProgram } from '@flash-sale/launcher/debian-program.ts';
import { runCommand } from '@flash-sale/launcher/run-command.ts';
import { root } from '../tidy/source-files.ts';
import { eventually } from './world.ts';

/**
 * @param name of Debian's package and its program @param libraries packages that it needs @throws
 * with how to get it
 */
export async function findProgram(
  name: string,
  { majorMin = 0, versionArg = '--version', libraries = /^$/ } = {},
): Promise<UnpackedProgram> {
  for (const path of [name, `/usr/sbin/${name}`]) if (!(await runCommand(path, [versionArg])).failed) return { path };
  const carriesCode = new RegExp(`^${name}$|${libraries.source}`);
  const program = { called: name, names: [name], majorMin, carriesCode };
  const folder = join(root, '.data', `${name}-dist`);
  mkdirSync(dirname(folder), { recursive: true });
  const found = unpackedProgram(folder, program) ?? (await unpackDebianProgram({ program, folder }));
  if (typeof found === 'string')
    throw new Error(
      `${name} is not on PATH. Install it ("apt-get install ${name}") and run the test again. ` +
        `(Debian's package could not be fetched: ${found}.)`,
    );
  return found;
}

export function environmentOf({ libraryPath }: UnpackedProgram, env: Record<string, string> = {}): NodeJS.ProcessEnv {
  return { ...process.env, ...env, ...(libraryPath ? { LD_LIBRARY_PATH: libraryPath } : {}) };
}

export interface RunningProgram {
  stop(): Promise<void>;
}

/**
 * @param options.answers whether it is up; asked until it is @throws with its output if it exits
 */
export async function startProgram(
  program: UnpackedProgram,
  args: readonly string[],
  options: { answers: () => Promise<boolean>; env?: Record<string, string>; withinMs?: number },
): Promise<RunningProgram> {
  const env = environmentOf(program, options.env);
  const child = spawn(program.path, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk));
  const gone = once(child, 'exit');
  const stop = async (): Promise<void> => {
    child.kill('SIGKILL');
    await gone;
  };
  try {
    await eventually(`${program.path} answers`, options.withinMs ?? 30_000, () => {
      if (child.exitCode !== null) throw new Error(`${program.path} exited (${child.exitCode}):\n${output}`);
      return options.answers().catch(() => false);
    });
  } catch (error) {
    await stop();
    throw error;
  }
  return { stop };
}

/** @returns whether an HTTP server answers there with 200 */
export const respondsAt = async (url: string): Promise<boolean> => (await fetch(url)).ok;

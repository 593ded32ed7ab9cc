/** What every command shares: arguments, errors, exit codes. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type ParseArgsConfig, parseArgs } from 'node:util';

// A closed terminal or pipe (npm run doctor | head) must not end a command before its work is done.
for (const stream of [process.stdout, process.stderr])
  stream.on('error', ({ code, message }: NodeJS.ErrnoException) => {
    if (code === 'EPIPE' || code === 'EIO') return;
    process.stderr.write(`The output could not be written (${message}).\n`);
    process.exit(1);
  });

/** The project's folder. */
export const root = fileURLToPath(new URL('..', import.meta.url));

export const say = (line: string): void => void process.stdout.write(`${line}\n`);

type Parsed<T extends ParseArgsConfig> = ReturnType<typeof parseArgs<T>>;

/**
 * Runs a command. An error is printed as its sentence.
 *
 * @param script the caller's `import.meta.url`
 * @param failed exit code after an error, and for wrong arguments
 * @param work returns the exit code
 */
export async function runScript<const T extends ParseArgsConfig>(
  script: string,
  failed: number,
  config: T & { help?: string },
  work: (given: Parsed<T>) => Promise<number>,
): Promise<void> {
  const given = readArguments(script, failed, config);
  try {
    process.exitCode = await work(given);
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    process.exitCode = failed;
  }
}

/**
 * Parses the arguments. `--help` prints the comment at the top of the script. Exits after it, and
 * if an option is unknown or has no value.
 *
 * @param config.help what --help adds to the comment
 */
export function readArguments<const T extends ParseArgsConfig>(
  script: string,
  wrong: number,
  { help, ...config }: T & { help?: string },
): Parsed<T> {
  try {
    // Before parseArgs, which throws if another option is wrong.
    if (process.argv.includes('--help') || process.argv.includes('-h')) {
      say([commentOf(script), ...(help ? [help] : [])].join('\n\n'));
      process.exit(0);
    }
    return parseArgs(config as unknown as T);
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n${usageOf(script)}\n`);
    process.exit(wrong);
  }
}

/** "Usage: " and the command line in the script's comment. */
export function usageOf(script: string): string {
  const line = commentOf(script)
    .split('\n')
    .find((line) => /^\s*(pnpm|npm) /.test(line));
  return `Usage: ${line?.trim()}`;
}

function commentOf(script: string): string {
  const [, comment = ''] = readFileSync(fileURLToPath(script), 'utf8').match(/^\/\*\*(.*?)\*\//s) ?? [];
  return comment.replaceAll(/^ \* ?/gm, '').trim();
}

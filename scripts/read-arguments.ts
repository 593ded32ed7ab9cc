/** Parses the arguments of a command. `--help` prints the comment at the top of its script. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type ParseArgsConfig, parseArgs } from 'node:util';

interface UsageOptions {
  /** Exit code for wrong arguments. */
  readonly wrongCode?: number;
  /** "Usage: …", if the comment does not list all arguments. */
  readonly usage?: string;
}

/**
 * Exits after `--help`, and if an option is unknown or has no value.
 *
 * @param script the caller's `import.meta.url`
 */
export function readArguments<T extends ParseArgsConfig>(
  script: string,
  config: T,
  { wrongCode = 2, usage }: UsageOptions = {},
): ReturnType<typeof parseArgs<T>> {
  try {
    // Before parseArgs, which throws if another option is wrong.
    if (process.argv.includes('--help') || process.argv.includes('-h')) {
      process.stdout.write(`${[commentOf(script), ...(usage ? [usage] : [])].join('\n\n')}\n`);
      process.exit(0);
    }
    return parseArgs(config);
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n${usage ?? usageOf(script)}\n`);
    process.exit(wrongCode);
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

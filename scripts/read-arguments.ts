/** Options of a command. What `--help` prints is the comment that its script begins with, so that there is one text of it. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type ParseArgsConfig, parseArgs } from 'node:util';

interface Told {
  /** Exit code where the arguments are wrong. */
  readonly wrongCode?: number;
  /** "Usage: …", where the comment cannot name all that may be typed. */
  readonly usage?: string;
}

/**
 * Ends the process where the command is not to run: after `--help`, and where an option is not known or has no value.
 *
 * @param script its `import.meta.url`
 */
export function readArguments<T extends ParseArgsConfig>(
  script: string,
  config: T,
  { wrongCode = 2, usage }: Told = {},
): ReturnType<typeof parseArgs<T>> {
  try {
    // Before the options are judged: whoever asks for help may have typed another one wrong.
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

/** "Usage: " and the line of the script's comment that is typed. */
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

/**
 * npm run capacity -- [--buyers 1000000] [--units 10000] [--seconds 10] …
 *
 * How many processes, cores, megabytes and seconds a drop takes, from what one order costs. It starts and asks nothing.
 * The constants are those of docs/measurements/speed.json; an option of a constant's name (--api-us-per-order 60) stands above it.
 * --write puts the output, as it is, into docs/capacity.md.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CapacityError, CONSTANT_NAMES, completeConstants, optionOf, readConstants } from './capacity/constants.ts';
import { printSizing, type Sources } from './capacity/print-sizing.ts';
import { DROP_OPTIONS, readDrop } from './capacity/read-drop.ts';
import { sizeDrop } from './capacity/size-drop.ts';
import { readArguments } from './read-arguments.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const SPEED_FILE = 'docs/measurements/speed.json';
const PAGE = join(root, 'docs/capacity.md');

const usage = `Usage: npm run capacity -- ${Object.entries(DROP_OPTIONS)
  .map(([name, { example }]) => `[--${name} ${example}]`)
  .join(' ')} [--json] [--write] [--constants <file>] [--<constant> <number>]`;

try {
  run();
} catch (error) {
  if (!(error instanceof CapacityError)) throw error;
  process.stderr.write(`${error.message}\n${usage}\n`);
  process.exitCode = 1;
}

function run(): void {
  const { texts, json, write } = textsOfArguments();
  const file = texts.constants ?? SPEED_FILE;
  const fromFile = readConstants(resolve(root, file));
  const fromOptions = Object.fromEntries(
    CONSTANT_NAMES.flatMap((name) => {
      const text = texts[optionOf(name)];
      return text === undefined
        ? []
        : [[name, text.trim() !== '' && Number.isFinite(Number(text)) ? Number(text) : text]];
    }),
  );
  const constants = completeConstants({ ...fromFile, ...fromOptions });
  const drop = readDrop(texts);
  const sizing = sizeDrop(drop, constants);
  if (json) return void process.stdout.write(`${JSON.stringify({ drop, constants, sizing }, null, 2)}\n`);
  const sourceOf = (name: string): string =>
    name in fromOptions ? 'by option' : name in fromFile ? file : 'taken, not measured';
  const sources = Object.fromEntries(CONSTANT_NAMES.map((name) => [name, sourceOf(name)])) as Sources;
  const text = printSizing(drop, constants, sizing, sources);
  process.stdout.write(text);
  if (write) writeIntoPage(text);
}

type Texts = Readonly<Partial<Record<string, string>>>;

function textsOfArguments(): { texts: Texts; json: boolean; write: boolean } {
  const names = [...Object.keys(DROP_OPTIONS), ...CONSTANT_NAMES.map(optionOf), 'constants'];
  const numbers = Object.fromEntries(names.map((name) => [name, { type: 'string' as const }]));
  const flag = { type: 'boolean' as const, default: false };
  const options = { ...numbers, json: flag, write: flag };
  const { json, write, ...texts } = readArguments(import.meta.url, { options }, { wrongCode: 1, usage }).values;
  return { texts: texts as Texts, json: json === true, write: write === true };
}

/** The example of docs/capacity.md is what this prints. */
function writeIntoPage(text: string): void {
  const page = readFileSync(PAGE, 'utf8');
  const typed = process.argv.slice(2).filter((argument) => argument !== '--write');
  const command = ['npm run capacity', ...(typed.length > 0 ? ['--'] : []), ...typed].join(' ');
  const [begin, end] = ['<!-- capacity: begin -->', '<!-- capacity: end -->'];
  const [before, rest] = page.split(begin) as [string, string];
  const after = rest.split(end)[1] as string;
  writeFileSync(PAGE, `${before}${begin}\n\n\`\`\`text\n$ ${command}\n\n${text}\`\`\`\n\n${end}${after}`);
}

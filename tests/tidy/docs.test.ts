/** Docs against code: links, keys, guarantees, failure modes, commands, widths. */

import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { SERVICE_NODE_ARGS } from '@flash-sale/core/config/node-args.ts';
import { createKeys } from '@flash-sale/core/inventory/keys.ts';
import { expect, test } from 'vitest';
import { root, sourceFiles } from './source-files.ts';

const pages = sourceFiles('.md');
const read = (path: string): string => readFileSync(join(root, path), 'utf8');

const slug = (heading: string): string =>
  heading
    .toLowerCase()
    .replaceAll(/[`*]/g, '')
    .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
    .trim()
    .replaceAll(' ', '-');

test('every link between pages leads somewhere, to the heading too', () => {
  const broken: string[] = [];
  for (const { path, text } of pages) {
    for (const [, target] of text.replaceAll(/```[\s\S]*?```/g, '').matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^(https?:|mailto:)/.test(target as string)) continue;
      const [file, anchor] = (target as string).split('#') as [string, string | undefined];
      const found = file === '' ? path : normalize(join(dirname(path), file));
      if (!existsSync(join(root, found))) broken.push(`${path} → ${target}`);
      else if (anchor && found.endsWith('.md')) {
        const headings = [...read(found).matchAll(/^#+ (.+)$/gm)].map((match) => slug(match[1] as string));
        if (!headings.includes(anchor)) broken.push(`${path} → ${target}`);
      }
    }
  }
  expect(broken).toEqual([]);
});

const reference = read('docs/reference.md');

/** From a heading of the reference to the next one of its level. */
function sectionOf(page: string, heading: string): string {
  const [, text] = new RegExp(`^## ${heading}$(.*?)(?=^## |$(?![\\s\\S]))`, 'ms').exec(page) ?? [];
  if (text === undefined) throw new Error(`no heading "## ${heading}"`);
  return text;
}

test('docs/reference.md has every Redis key', () => {
  const keys = createKeys('P');
  const { buckets1, ...sale } = keys.sale('S');
  const { globalRateLimiter, workerAlive, ledger, scratchSpaces } = keys;
  const spelled = [...Object.values(sale), globalRateLimiter, workerAlive, ledger, scratchSpaces];
  const section = sectionOf(reference, 'Redis keys');
  const listed = [...section.matchAll(/^\| `\{\w+\}:([\w:-]+)`.*?\| (\w+)/gm)];
  const documented = listed.filter(([, , type]) => type !== 'channel').map(([, name]) => name);
  expect(documented.sort()).toEqual(spelled.map((key) => (key as string).split('}:')[1]).sort());
  expect(section).toContain(`\`{sale}:${keys.invalidationChannel('S').split('}:')[1]}\``);
});

test('services are started with the arguments of node-args.ts everywhere', () => {
  const startIn = (text: string): string[] => text.match(/\bnode"?,? [^\n]*apps\/(api|worker)\/src\/main\.ts/g) ?? [];
  for (const path of ['Dockerfile', 'compose.yaml']) expect(startIn(read(path)).length, path).toBeGreaterThan(0);
  for (const path of ['Dockerfile', 'compose.yaml', ...pages.map((page) => page.path)]) {
    for (const start of startIn(read(path))) expect(start.match(/--[\w-]+=\w+/g), path).toEqual(SERVICE_NODE_ARGS);
  }
});

/** Rows of a table of docs/reference.md: its number, and the test that it names. */
const rowsOf = (heading: string, number: RegExp): { number: string; test: string }[] =>
  [
    ...sectionOf(reference, heading).matchAll(
      new RegExp(`^\\| (${number.source}) +\\|.*\\| \`([\\w-]+)\` +\\|$`, 'gm'),
    ),
  ].map((match) => ({ number: match[1] as string, test: match[2] as string }));

test.each([
  { heading: 'Guarantees', number: /I\d+/, tag: (number: string) => `[${number}]` },
  { heading: 'Known failure modes', number: /\d+/, tag: (number: string) => `[trap ${number}]` },
])('$heading of docs/reference.md are those that the tests name', ({ heading, number, tag }) => {
  const tests = sourceFiles('.test.ts');
  const rows = rowsOf(heading, number);
  const tagged = new RegExp(tag('0').replace('[', '\\[').replace(/I?0/, `(${number.source})`), 'g');
  const named = new Set(tests.flatMap(({ text }) => [...text.matchAll(tagged)].map((match) => match[1] as string)));
  expect(rows.map((row) => row.number).sort()).toEqual([...named].sort());
  const missing = rows.filter(
    (row) => !tests.some(({ path, text }) => path.endsWith(`/${row.test}.test.ts`) && text.includes(tag(row.number))),
  );
  expect(missing).toEqual([]);
});

test('a script keeps guarantees that there are', () => {
  const documented = rowsOf('Guarantees', /I\d+/).map((row) => row.number);
  const kept = sourceFiles('.lua').flatMap(({ text }) => text.match(/\bI\d+\b/g) ?? []);
  expect(kept.length).toBeGreaterThan(10);
  expect(kept.filter((name) => !documented.includes(name))).toEqual([]);
});

test('[trap 37] every command of package.json that a page names exists', () => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
  const unknown = pages.flatMap(({ path, text }) =>
    (text.match(/```[\s\S]*?```|`[^`\n]+`/g) ?? []).flatMap((code) =>
      [...code.matchAll(/\b(?:npm run|pnpm(?: run)?)(?: --silent)? ([a-z]+(?:[:-][a-z]+)*)/g)]
        .map((match) => match[1] as string)
        .filter((name) => !(name in scripts) && !/^(install|exec|add|dlx|audit|run)$/.test(name))
        .map((name) => `${path}: ${name}`),
    ),
  );
  expect(unknown).toEqual([]);
});

test('[trap 37] every file of the repository that a page names exists', () => {
  const named = pages.flatMap(({ path, text }) =>
    [...text.matchAll(/(?<![\w./])(?:apps|packages|tests|scripts|deploy|k6)\/[\w./-]*\w/g)].map(([file]) => ({
      path,
      file,
    })),
  );
  expect(named.length).toBeGreaterThan(20);
  expect(named.filter(({ file }) => !existsSync(join(root, file)))).toEqual([]);
});

test('every test that SECURITY.md names exists', () => {
  const rows = read('SECURITY.md').match(/^\|.*\| `[\w-]+`(?:, `[\w-]+`)* +\|$/gm) ?? [];
  const named = rows.flatMap(
    (row) =>
      row
        .split('|')
        .at(-2)
        ?.match(/[\w-]+/g) ?? [],
  );
  expect(named.length).toBeGreaterThan(10);
  const tests = sourceFiles('.test.ts').map(({ path }) => path);
  expect(named.filter((name) => !tests.some((path) => path.endsWith(`/${name}.test.ts`)))).toEqual([]);
});

test('pages that the code names exist', () => {
  const named = sourceFiles('.ts', '.mjs', '.lua', '.sql', '.yml', '.yaml').flatMap(({ path, text }) =>
    [...text.matchAll(/(?<![\w./])docs\/[\w/-]+(?:\.\w+)+/g)].map(([page]) => ({ path, page })),
  );
  expect(named.length).toBeGreaterThan(10);
  expect(named.filter(({ page }) => !existsSync(join(root, page)))).toEqual([]);
});

/** Most words of a page. */
const WORDS_MAX = {
  'README.md': 700,
  'CONTRIBUTING.md': 900,
  'SECURITY.md': 700,
  'docs/architecture.md': 2_200,
  'docs/benchmarks.md': 800,
  'docs/decisions.md': 3_500,
  'docs/operations.md': 3_200,
  'docs/reference.md': 2_500,
  'docs/runbook.md': 2_500,
};

test.each(Object.entries(WORDS_MAX))('%s has at most %i words', (path, most) => {
  const words = read(path)
    .split(/\s+/)
    .filter((text) => /[\p{L}\p{N}]/u.test(text));
  expect(words.length).toBeLessThanOrEqual(most);
});

test('no table is wider than 100 columns', () => {
  // Chinese characters take two.
  const columns = (line: string): number => line.length + (line.match(/[\u3000-\u9fff\uff00-\uffef]/g)?.length ?? 0);
  const wide = pages.flatMap(({ path, text }) =>
    text.split('\n').flatMap((line, at) => (line.startsWith('|') && columns(line) > 100 ? [`${path}:${at + 1}`] : [])),
  );
  expect(wide).toEqual([]);
});

test('commands for operators need npm alone', () => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
  // Commands that fetch what they need.
  const names = Object.keys(scripts).filter((name) => scripts[name]?.includes('.mjs'));
  expect(names).toEqual(
    expect.arrayContaining(['backup', 'restore', 'recover:orders', 'audit:sale', 'doctor', 'migrate']),
  );
  const typed = new RegExp(`\\bpnpm (?:--silent )?(?:run )?(?:${names.join('|')})(?![\\w:-])`);
  const forOperators = /^(README.*\.md|docs\/(operations|runbook)\b.*|(apps|packages|scripts)\/.*)$/;
  const found = sourceFiles('.md', '.ts', '.mjs')
    .filter(({ path }) => forOperators.test(path) && !path.endsWith('.test.ts'))
    .flatMap(({ path, text }) =>
      text.split('\n').flatMap((line, at) => (typed.test(line) ? [`${path}:${at + 1}`] : [])),
    );
  expect(found).toEqual([]);
  // npm hands options on behind "--" only; before it they are its own.
  const swallowed = pages.flatMap(
    ({ path, text }) =>
      text.match(/\bnpm run (?:--silent )?[a-z:]+ --[a-z][^\n`]*/g)?.map((command) => `${path}: ${command}`) ?? [],
  );
  expect(swallowed).toEqual([]);
});

/** Docs that are checked: links, .env.example, keys, invariants, traps, commands. */

import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { EnvironmentSchema } from '@flash-sale/core/config/environment.ts';
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

test('.env.example has every setting once, with its default, and nothing else', () => {
  const lines = [...read('.env.example').matchAll(/^#? ?([A-Z][A-Z0-9_]*)=(.*)$/gm)];
  expect(lines.map((line) => line[1]).sort()).toEqual(Object.keys(EnvironmentSchema.properties).sort());
  for (const [, name, value] of lines) {
    const declared = EnvironmentSchema.properties[name as keyof typeof EnvironmentSchema.properties] as {
      default?: unknown;
    };
    if (declared.default !== undefined) expect(value, name).toBe(String(declared.default));
  }
});

test('docs/redis-keys.md has every key, and docs/running.md every setting', () => {
  const keys = createKeys('P');
  const sale = keys.sale('S');
  const spelled = [
    ...Object.values(sale).filter((key) => typeof key === 'string'),
    ...sale.buckets,
    keys.globalRateLimiter,
    keys.catalogue,
    keys.workerAlive,
  ];
  const page = read('docs/redis-keys.md');
  for (const key of spelled) expect(page).toContain((key as string).split('}:')[1]);
  for (const name of Object.keys(EnvironmentSchema.properties)) expect(read('docs/running.md')).toContain(name);
});

test('wherever a service is started, it is with the arguments that node-args.ts names', () => {
  const pages = ['docs/running.md', 'docs/running/alerts.md'];
  for (const file of ['Dockerfile', 'compose.yaml', ...pages]) {
    const starts = read(file).match(/\bnode"?,? [^\n]*apps\/(api|worker)\/src\/main\.ts/g) ?? [];
    expect(starts.length, file).toBeGreaterThan(0);
    for (const start of starts) expect(start.match(/--[\w-]+=\w+/g), file).toEqual(SERVICE_NODE_ARGS);
  }
});

test('docs/invariants.md and the tests name the same invariants', () => {
  const documented = new Set(
    [...read('docs/invariants.md').matchAll(/^## (I\d+)\b/gm)].map((match) => match[1] as string),
  );
  const tested = new Set(
    sourceFiles('.test.ts').flatMap((file) =>
      [...file.text.matchAll(/\[(I\d+)\]/g)].map((match) => match[1] as string),
    ),
  );
  const kept = new Set(
    sourceFiles('.lua').flatMap((file) => [...file.text.matchAll(/\bI\d+\b/g)].map((match) => match[0])),
  );
  expect([...tested].sort()).toEqual([...documented].sort());
  expect([...kept].filter((name) => !documented.has(name))).toEqual([]);
});

test('docs/traps.md explains every trap that a test names, and no other', () => {
  const documented = new Set(
    [...read('docs/traps.md').matchAll(/^\| *(\d+) *\|/gm)].map((match) => match[1] as string),
  );
  const tested = new Set(
    sourceFiles('.test.ts').flatMap((file) =>
      [...file.text.matchAll(/\[trap (\d+)\]/g)].map((match) => match[1] as string),
    ),
  );
  expect([...tested].sort()).toEqual([...documented].sort());
});

test('[trap 37] every command of package.json that a page names exists', () => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
  const unknown: string[] = [];
  for (const { path, text } of pages) {
    if (path === 'CHANGELOG.md') continue;
    for (const [, name] of text.matchAll(
      /\b(?:pnpm|npm run) (?!install|exec|add|dlx|deploy|store|through|and\b|is\b|or\b|run\b)([a-z]+(?:[:-][a-z]+)*)\b(?!\.)/g,
    )) {
      if (!((name as string) in scripts) && text.includes(`\`pnpm ${name}`)) unknown.push(`${path}: ${name}`);
    }
  }
  expect(unknown).toEqual([]);
});

test('what an operator types, or is told to type, needs npm alone: pnpm is on no PATH', () => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
  // Those that fetch what they need by themselves.
  const names = Object.keys(scripts).filter((name) => scripts[name]?.includes('.mjs'));
  expect(names).toEqual(
    expect.arrayContaining(['backup', 'restore', 'recover:orders', 'audit:sale', 'doctor', 'migrate']),
  );
  const typed = new RegExp(`\\bpnpm (?:--silent )?(?:run )?(?:${names.join('|')})(?![\\w:-])`);
  const forOperators = /^(README\.md|docs\/(running|capacity)\b.*|(apps|packages|scripts)\/.*)$/;
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

/** `npm run generate` writes .env.example and the settings in docs/reference.md. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { SETTING_GROUPS } from '@flash-sale/core/config/settings.ts';
import type { TSchema } from '@sinclair/typebox';
import { expect, test } from 'vitest';
import { root } from './source-files.ts';

const COLUMNS = 100;
/** Of the table in docs/reference.md. */
const WIDTHS = [29, 12, 13];

/** @returns lines of at most `width` characters */
function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

function meaningOf({ description, type, minimum, maximum }: TSchema): string {
  return type === 'integer' ? `${description} ${minimum} to ${maximum}.` : `${description}`;
}

const groups = Object.entries(SETTING_GROUPS).map(([heading, group]) => ({
  heading,
  settings: Object.entries(group as Record<string, TSchema>),
}));

test('.env.example is what the schema says', async () => {
  const head = [
    '# Settings of the flash sale, each with its default. Copy this file to .env and uncomment what you change.',
    '# The environment overrides .env. NAME_FILE=/path reads the value of NAME from a file (container secrets).',
    '# With NODE_ENV=production the default is the one behind "production:".',
  ];
  const body = groups.flatMap(({ heading, settings }) => [
    '',
    `# ---- ${heading} ----`,
    ...settings.flatMap(([name, schema]) => [
      '',
      ...wrap(meaningOf(schema), COLUMNS - 2).map((line) => `# ${line}`),
      ...(schema.production === undefined ? [] : [`# production: ${schema.production}`]),
      `# ${name}=${schema.default ?? ''}`,
    ]),
  ]);
  await expect(`${[...head, ...body].join('\n')}\n`).toMatchFileSnapshot(join(root, '.env.example'));
});

test('docs/reference.md has a table of all settings', async () => {
  const path = join(root, 'docs/reference.md');
  const row = (cells: readonly unknown[]) =>
    `| ${cells.map((cell, i) => `${cell}`.padEnd(WIDTHS[i] ?? 0)).join(' | ')} |`;
  const rows = [
    row(['setting', 'default', 'in production']),
    row(WIDTHS.map((width) => '-'.repeat(width))),
    ...groups.flatMap(({ settings }) =>
      settings.map(([name, schema]) => row([`\`${name}\``, schema.default ?? '', schema.production ?? ''])),
    ),
  ];
  const page = readFileSync(path, 'utf8').replace(
    /(<!-- settings -->\n)[\s\S]*?(<!-- \/settings -->)/,
    (_, begin, end) => `${begin}\n${rows.join('\n')}\n\n${end}`,
  );
  expect(page).toContain('`REDIS_URL`');
  await expect(page).toMatchFileSnapshot(path);
});

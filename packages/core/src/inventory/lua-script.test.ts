/** Tidy rules of lua/*.lua: a header is a declaration, and the body keeps to it. */
import { describe, expect, test } from 'vitest';
import { loadLuaScripts, parseLuaScript } from './lua-script.ts';

/** The body without comments and the text of strings. */
const body = (source: string): string => source.replaceAll(/--.*$/gm, '');

const indexes = (source: string, table: 'KEYS' | 'ARGV'): Set<number> =>
  new Set([...body(source).matchAll(new RegExp(`${table}\\[(\\d+)\\]`, 'g'))].map((match) => Number(match[1])));

/** What an inventory was opened in, in the same words everywhere: the process, and the data that it has. */
const LIFE = `
local life = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  .. ' ' .. string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
`;

describe.each(loadLuaScripts().map((script) => [script.name, script] as const))('%s.lua', (_name, script) => {
  test('reads each key and argument that it declares, and declares each that it reads', () => {
    for (const [table, fixed, repeats] of [
      ['KEYS', script.keys, false],
      ['ARGV', script.fixedArguments, script.argumentsRepeat],
    ] as const) {
      const read = indexes(script.source, table);
      expect(
        [...read].sort((a, b) => a - b),
        table,
      ).toEqual(fixed.map((_, i) => i + 1));
      // Where they repeat they are read by an index that is computed, or unpacked whole.
      expect(
        new RegExp(`${table}\\[[a-z]|#${table}\\b|unpack\\(${table}(, \\d+)?\\)`).test(body(script.source)),
        table,
      ).toBe(repeats);
    }
  });

  test('takes keys from KEYS only', () => {
    for (const [, , key] of body(script.source).matchAll(/redis\.call\('(?!INFO)([A-Z]+)'(?:, ([^,)]+))?/g)) {
      if (key !== undefined) expect(key).toMatch(/^(KEYS\[\w+\]|(half|newer|older)\.key)$/);
    }
  });

  test('[I11] asks for the life of Redis in the same words as all others, or not at all', () => {
    const asked = script.source.split("'INFO'").length - 1;
    expect(asked, 'of both halves').toBe(script.source.includes(LIFE) ? 2 : 0);
  });

  test('answers with the words that it declares, and declares those that it answers', () => {
    const answered = new Set<string>();
    for (const [, word] of body(script.source).matchAll(/(?:return|reply =) \{ '([a-z_]+)'/g))
      answered.add(word as string);
    for (const [, word] of body(script.source).matchAll(
      /(?:\bword|closed_word|word, number|closed_word, closed_number) = '([a-z_]+)'/g,
    )) {
      answered.add(word as string);
    }
    for (const [, word] of body(script.source).matchAll(/'HSET', KEYS\[2\], ARGV\[1\], '([a-z_]+)'/g))
      answered.add(word as string);
    expect([...answered].sort()).toEqual([...new Set(script.words)].sort());
  });

  test('says which invariants it keeps', () => {
    expect(script.keeps).toMatch(/^(I\d+ |nothing)/);
  });
});

test('a header with a gap in its numbers, or without a section, is refused', () => {
  const whole =
    '-- x\n--   Does.\n-- KEYS\n--   1 a   b\n-- ARGV\n--   none\n-- Returns\n--   ok\n-- Keeps\n--   I1 it\n';
  expect(parseLuaScript('x', whole).keys).toEqual(['a']);
  expect(() => parseLuaScript('x', whole.replace('1 a', '2 a'))).toThrow('cannot read');
  expect(() => parseLuaScript('x', whole.replace('1 a', '1.. a'))).toThrow('how many keys');
  expect(() => parseLuaScript('x', whole.replace('-- Keeps', '-- Else'))).toThrow('"Keeps"');
});

/** The header of each lua/*.lua is a declaration; these tests compare it with the body. */
import { readdirSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { WHEN_FULL } from '../runtime/redis/full-redis.ts';
import { createKeys } from './keys.ts';
import { includeText, type LuaScript, loadLuaScripts, parseLuaScript } from './lua-script.ts';
import { reserveKinds } from './outcomes.ts';

const includes = readdirSync(new URL('../../lua/include/', import.meta.url)).map((file) => file.replace('.lua', ''));

const withoutComments = (source: string): string => source.replaceAll(/--.*$/gm, '');

/** Names that an include gives to the scripts that have it. */
const namesOf = (include: string): string[] =>
  [...includeText(include).matchAll(/^local (?:function )?(\w+)/gm)].map((match) => match[1] as string);

const indexes = (body: string, table: 'KEYS' | 'ARGV'): number[] =>
  [...new Set([...body.matchAll(new RegExp(`${table}\\[(\\d+)\\]`, 'g'))].map((match) => Number(match[1])))].sort(
    (a, b) => a - b,
  );

/**
 * @param script its lines are "a, b, c …", or one argument a line: "1 a   unit", "2.. b"; "…" and
 * ".." = any number of them
 */
function readArguments({ argumentLines: lines }: LuaScript): {
  fixedArguments: readonly string[];
  argumentsRepeat: boolean;
} {
  const isNumbered = /^\d/.test(lines[0] ?? '');
  const items = isNumbered || lines.length === 0 ? lines : lines.join(' ').split(', ');
  for (const [i, item] of items.entries()) {
    if (isNumbered && !new RegExp(`^${i + 1}(\\.\\.)? `).test(item)) throw new Error(`cannot read the line "${item}"`);
  }
  const argumentsRepeat = /^\d+\.\. |…$/.test(items.at(-1) ?? '');
  return { fixedArguments: argumentsRepeat ? items.slice(0, -1) : items, argumentsRepeat };
}

describe.each(loadLuaScripts().map((script) => [script.name, script] as const))('%s.lua', (_name, script) => {
  const source = script.source.replace(WHEN_FULL, '');
  const body = withoutComments(source);
  const own = source.slice(script.includes.map((name) => `${includeText(name)}\n`).join('').length);

  test('declares exactly the includes that it uses', () => {
    const names = withoutComments(own).replaceAll(/'[^']*'/g, '');
    const used = includes.filter((name) => namesOf(name).some((given) => new RegExp(`\\b${given}\\b`).test(names)));
    expect([...script.includes].sort()).toEqual(used.sort());
  });

  test('declares exactly the keys and arguments that it reads', () => {
    const numbers = (names: readonly string[]): number[] => names.map((_, i) => i + 1);
    expect(indexes(body, 'KEYS')).toEqual(numbers(script.keysRepeat ? script.keys.slice(0, -1) : script.keys));
    expect(/ipairs\(KEYS\)/.test(body)).toBe(script.keysRepeat);
    const { fixedArguments, argumentsRepeat } = readArguments(script);
    expect(indexes(body, 'ARGV')).toEqual(numbers(fixedArguments));
    // Repeated arguments are read by a computed index or unpacked.
    expect(/ARGV\[[a-z]|#ARGV\b|unpack\(ARGV, /.test(body)).toBe(argumentsRepeat);
  });

  test('uses the key names of keys.ts', () => {
    const known = [...Object.keys(createKeys('p').sale('s')), 'window', 'target'];
    expect(script.keys.filter((name) => !known.includes(name))).toEqual([]);
  });

  test('takes keys from KEYS only', () => {
    for (const [, key] of body.matchAll(/redis\.call\((?:'(?!INFO|TIME)[A-Z]+'|ARGV\[2\])(?:, ([^,)]+))?/g)) {
      expect(key).toMatch(/^(KEYS\[\d\]|key|(half|newer|older)\.key)$/);
    }
    for (const [, key] of body.matchAll(/(?<!function )\b(?:read_buckets|write_fields)\(([^,]+)/g)) {
      expect(key).toMatch(/^KEYS\[\d\]$/);
    }
  });

  test('declares exactly the words that it returns', () => {
    const answered = new Set<string>();
    for (const [, word] of own.matchAll(/(?:return|reply =) \{ '([a-z_]+)'/g)) answered.add(word as string);
    for (const [, word] of own.matchAll(/(?:\bword|window_word)(?:, \w+)? = '([a-z_]+)'/g))
      answered.add(word as string);
    expect([...answered].sort()).toEqual([...new Set(script.words)].sort());
  });

  test('says which invariants it keeps', () => {
    expect(script.keeps).toMatch(/^(I\d+(, I\d+)*|nothing, it only reads)$/);
  });
});

test('[I11] only the includes read the instance id and spell a reservation', () => {
  for (const { name, source, includes: included } of loadLuaScripts()) {
    const own = source.slice(included.map((include) => `${includeText(include)}\n`).join('').length);
    expect(own, name).not.toMatch(/'INFO'|run_id|master_replid/);
    expect(withoutComments(own), name).not.toContain("'|'");
  }
});

test('a header is parsed; a missing section, a gap in its numbers or an unknown include is an error', () => {
  const whole =
    '-- Does.\n-- Includes: one\n-- Keeps: I1\n-- KEYS: a, b\n-- ARGV: c ms, d …\n-- Returns: ok | not_ok, n\n';
  const parse = (text: string) => parseLuaScript('x', text, (name) => `-- include ${name}`);
  expect(parse(whole)).toMatchObject({
    includes: ['one'],
    keys: ['a', 'b'],
    keysRepeat: false,
    argumentLines: ['c ms, d …'],
    words: ['ok', 'not_ok'],
    source: `-- include one\n${whole}`,
  });
  expect(readArguments(parse(whole))).toEqual({ fixedArguments: ['c ms'], argumentsRepeat: true });
  expect(parse(whole.replace('a, b', 'a, b …'))).toMatchObject({ keys: ['a', 'b'], keysRepeat: true });
  const numbered = whole.replace(': c ms, d …', '\n--   1 c   ms\n--   2 d');
  expect(readArguments(parse(numbered)).fixedArguments).toHaveLength(2);
  expect(() => readArguments(parse(numbered.replace('2 d', '3 d')))).toThrow('cannot read');
  expect(() => parse(whole.replace('-- Keeps', '-- Else'))).toThrow('"Keeps"');
  expect(() => parseLuaScript('x', whole)).toThrow('include/one.lua');
});

test('outcomes.ts has exactly the words that the header of reserve.lua declares', () => {
  const { words = [] } = loadLuaScripts().find(({ name }) => name === 'reserve') ?? {};
  expect([...reserveKinds].sort()).toEqual(words.filter((word) => word !== 'decided').sort());
});

/**
 * Reads lua/*.lua and runs the scripts. The header of a script is its declaration: includes, keys,
 * arguments and replies are read from it, and a test compares it with the body.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { failpoint } from '../runtime/failpoints.ts';
import { WHEN_FULL } from '../runtime/redis/full-redis.ts';
import type { AnyRedis } from '../runtime/redis/open-redis.ts';

export interface LuaScript {
  /** File name without the extension, and the name of the command. */
  readonly name: string;
  /** Names of files in lua/include/, in the order in which they are put in front of the script. */
  readonly includes: readonly string[];
  /** Invariants of docs/reference.md that the script keeps. */
  readonly keeps: string;
  /** Names of keys, as in SaleKeys. */
  readonly keys: readonly string[];
  /** Whether the last key stands for any number of them. */
  readonly keysRepeat: boolean;
  /** Lines of the section ARGV. */
  readonly argumentLines: readonly string[];
  /** First words of the replies and, for batches, of each item. */
  readonly words: readonly string[];
  /** What Redis is sent: flags, the includes and the script. */
  readonly source: string;
}

const folder = new URL('../../lua/', import.meta.url);
const HEADING = /^-- (Includes|Runs|Keeps|KEYS|ARGV|Returns)(?:: (.+))?$/;

/** @throws Error if the header lacks a section */
export function parseLuaScript(name: string, text: string, readInclude = includeText): LuaScript {
  const sections = new Map<string, string[]>();
  let items: string[] | undefined;
  for (const line of text.split('\n')) {
    if (!line.startsWith('--')) break;
    const [, heading, inline] = HEADING.exec(line) ?? [];
    if (heading) {
      items = inline === undefined ? [] : [inline];
      sections.set(heading, items);
    } else items?.push(line.slice(2).trim());
  }
  const required = (heading: string): string[] => {
    const found = sections.get(heading);
    if (!found || found.length === 0) throw new Error(`${name}.lua: its header has no section "${heading}"`);
    return found;
  };
  const first = sections.get('Runs')?.[0] === 'while Redis is full' ? WHEN_FULL : '';
  const keys = required('KEYS').join(' ');
  const includes = sections.get('Includes')?.join(' ').split(', ') ?? [];
  return {
    name,
    includes,
    keeps: required('Keeps').join(' '),
    keys: keys.replace(/ …$/, '').split(', '),
    keysRepeat: keys.endsWith(' …'),
    argumentLines: sections.get('ARGV') ?? [],
    words: required('Returns').flatMap((reply) => reply.split(' | ').map((word) => /^[a-z_]*/.exec(word)?.[0] ?? '')),
    source: first + [...includes.map(readInclude), text].join('\n'),
  };
}

export function includeText(name: string): string {
  return readFileSync(new URL(`include/${name}.lua`, folder), 'utf8');
}

export function loadLuaScripts(): LuaScript[] {
  return readdirSync(folder)
    .flatMap((file) => /^(.+)\.lua$/.exec(file)?.[1] ?? [])
    .sort()
    .map((name) => parseLuaScript(name, readFileSync(new URL(`${name}.lua`, folder), 'utf8')));
}

/**
 * Runs a script. ioredis sends its hash, and the source if Redis does not have it.
 *
 * @param keys by the names in the script's header; others are ignored
 * @returns a word that the header declares, and what comes with it
 * @throws Error of Redis or of the connection; whether the script ran is unknown
 */
export type RunScript = (
  name: string,
  keys: Readonly<Record<string, string | readonly string[]>>,
  args?: readonly (string | number)[],
) => Promise<unknown[]>;

type Command = (...args: (string | number)[]) => Promise<unknown[]>;

/** Defines every script on the connection. */
export function defineScripts(redis: AnyRedis): RunScript {
  const scripts = new Map(loadLuaScripts().map((script) => [script.name, script]));
  // Without a number of keys, it is the first argument.
  for (const { name, source } of scripts.values()) redis.defineCommand(name, { lua: source });
  const commands = redis as unknown as Record<string, Command>;
  return async (name, keys, args = []) => {
    const script = scripts.get(name);
    if (!script) throw new Error(`no script lua/${name}.lua`);
    const keyNames = script.keys.flatMap((key) => {
      const found = keys[key];
      if (found === undefined) throw new Error(`lua/${name}.lua needs the key ${key}`);
      return found;
    });
    failpoint(name, 'begins');
    const reply = await (commands[name] as Command).call(redis, keyNames.length, ...keyNames, ...args);
    failpoint(name, 'done');
    if (!script.words.includes(String(reply[0]))) {
      throw new Error(`lua/${name}.lua answered with an unknown word: ${String(reply[0])}`);
    }
    return reply;
  };
}

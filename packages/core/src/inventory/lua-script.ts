/**
 * Reads lua/*.lua and teaches a connection to run them. The header of a script is its declaration: the number of keys is
 * read from it, and a test holds it against the body.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { failpoint } from '../runtime/failpoints.ts';
import type { AnyRedis } from '../runtime/redis/open-redis.ts';

export interface LuaScript {
  /** File name without the ending, and the name of the command. */
  readonly name: string;
  readonly keys: readonly string[];
  readonly fixedArguments: readonly string[];
  readonly argumentsRepeat: boolean;
  /** First words that a reply may start with, and, for batches, those of each item. */
  readonly words: readonly string[];
  readonly keeps: string;
  readonly source: string;
}

const folder = new URL('../../lua/', import.meta.url);

/** @throws Error when a header lacks a section or numbers its keys with gaps */
export function parseLuaScript(name: string, source: string): LuaScript {
  const sections = new Map<string, string[]>();
  let section = '';
  for (const line of source.split('\n')) {
    if (!line.startsWith('--')) break;
    const heading = /^-- (\S.*)$/.exec(line);
    if (heading) {
      section = heading[1] as string;
      sections.set(section, []);
    } else sections.get(section)?.push(line.slice(2).trim());
  }
  const lines = (wanted: string): string[] => {
    const found = sections.get(wanted);
    if (!found || found.length === 0) throw new Error(`${name}.lua: its header has no section "${wanted}"`);
    return found;
  };
  lines(name);
  const keys = numbered(name, lines('KEYS'));
  if (keys.repeats) throw new Error(`${name}.lua: how many keys it has must not hang on the call`);
  const args = numbered(name, lines('ARGV'));
  return {
    name,
    keys: keys.fixed,
    fixedArguments: args.fixed,
    argumentsRepeat: args.repeats,
    words: lines('Returns').map((line) => (line.match(/^[a-z_]+/) ?? [''])[0]),
    keeps: lines('Keeps').join(' '),
    source,
  };
}

function numbered(name: string, lines: readonly string[]): { fixed: string[]; repeats: boolean } {
  const fixed: string[] = [];
  for (const line of lines) {
    if (line === 'none') return { fixed: [], repeats: false };
    const entry = /^(\d+)(\.\.)? +(\S.*)$/.exec(line);
    if (!entry || Number(entry[1]) !== fixed.length + 1) throw new Error(`${name}.lua: cannot read the line "${line}"`);
    if (entry[2]) return { fixed, repeats: true };
    fixed.push((entry[3] as string).split(/ {2,}/)[0] as string);
  }
  return { fixed, repeats: false };
}

export function loadLuaScripts(): LuaScript[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith('.lua'))
    .sort()
    .map((file) => parseLuaScript(file.slice(0, -'.lua'.length), readFileSync(new URL(file, folder), 'utf8')));
}

/** Runs a script by its name; a script that Redis has forgotten is sent again by the client library. */
export type RunScript = (
  name: string,
  keys: readonly string[],
  args: readonly (string | number)[],
) => Promise<unknown[]>;

/** Defines every script on the connection. @returns the one way to run them */
export function defineScripts(redis: AnyRedis): RunScript {
  const scripts = new Map(loadLuaScripts().map((script) => [script.name, script]));
  for (const script of scripts.values()) {
    redis.defineCommand(script.name, { lua: script.source, numberOfKeys: script.keys.length });
  }
  const commands = redis as unknown as Record<string, (...args: (string | number)[]) => Promise<unknown[]>>;
  return async (name, keys, args) => {
    const script = scripts.get(name);
    if (!script) throw new Error(`no script lua/${name}.lua`);
    if (keys.length !== script.keys.length)
      throw new Error(`lua/${name}.lua declares ${script.keys.length} keys and was called with ${keys.length}`);
    const command = commands[name] as (...args: (string | number)[]) => Promise<unknown[]>;
    failpoint(name, 'begins');
    const reply = await command.call(redis, ...keys, ...args);
    failpoint(name, 'done');
    return reply;
  };
}

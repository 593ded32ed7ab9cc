/**
 * Every command that a Redis runs, with its sender, from MONITOR. Unlike times, the counts are the
 * same on every machine, so tests can compare them with bounds.
 */
import { createHash, randomUUID } from 'node:crypto';
import { loadLuaScripts } from '@flash-sale/core/inventory/lua-script.ts';
import { Redis } from 'ioredis';
import { eventually } from '../support/world.ts';

export interface Carried {
  /** Lower case. */
  readonly command: string;
  /** Name of the connection that sent it, or that called the script. */
  readonly sender: string;
  /** Name of a script of lua/; 'other' = BullMQ's; null = no script. */
  readonly script: string | null;
  /** Whether the script called it, not the sender itself. */
  readonly inside: boolean;
}

export interface RedisWatch {
  /** The commands since `start`, including all that were sent before this call. */
  since(start: number): Promise<Carried[]>;
  /** For `since`. */
  now(): Promise<number>;
  close(): void;
}

/** @param url of a Redis of the test's own; connections that are opened later have no name here */
export async function watchRedis(url: string): Promise<RedisWatch> {
  const redis = new Redis(url);
  const list = (await redis.call('CLIENT', 'LIST')) as string;
  const names = new Map([...list.matchAll(/\baddr=(\S+).*?\bname=(\S*)/g)].map(([, addr, name]) => [addr, name]));
  const scripts = scriptNames();
  const carried: Carried[] = [];
  const marks = new Map<string, number>();
  let call = { sender: '', script: null as string | null };
  const monitor = await redis.monitor();
  monitor.on('monitor', (_time: string, args: string[], source: string) => {
    const command = (args[0] as string).toLowerCase();
    if (command === 'echo') return void marks.set(args[1] as string, carried.length);
    if (source === 'lua') return void carried.push({ command, ...call, inside: true });
    const hash = command === 'evalsha' ? args[1] : command === 'eval' ? sha1(args[1] as string) : null;
    const script = hash ? (scripts.get(hash) ?? 'other') : null;
    call = { sender: names.get(source) ?? '', script };
    carried.push({ command, ...call, inside: false });
  });

  /** Index after the last command that Redis has run by now. */
  async function now(): Promise<number> {
    const mark = randomUUID();
    await redis.echo(mark);
    await eventually('MONITOR has told of it', 10_000, () => marks.has(mark));
    return marks.get(mark) as number;
  }
  return {
    now,
    since: async (start) => carried.slice(start, await now()),
    close: () => {
      monitor.disconnect();
      redis.disconnect();
    },
  };
}

const sha1 = (text: string): string => createHash('sha1').update(text).digest('hex');

/** SHA1 → name of the project's own scripts. */
function scriptNames(): Map<string, string> {
  return new Map(loadLuaScripts().map(({ name, source }) => [sha1(source), name]));
}

/** Round trips: commands, where MULTI … EXEC is one, because it is sent at once. */
export function roundTrips(carried: readonly Carried[]): number {
  let trips = 0;
  const inMulti = new Set<string>();
  for (const { command, sender, inside } of carried) {
    if (inside) continue;
    if (command === 'multi') inMulti.add(sender);
    else if (command === 'exec') inMulti.delete(sender);
    if (!inMulti.has(sender)) trips += 1;
  }
  return trips;
}

/**
 * What both models share: scripts whose clock the test sets, and the comparison. In the scripts as
 * the test sends them, TIME reads a hash beside the first key, so each sale under test has its own
 * clock and every result is exact. The files of lua/ stay as they are; that Redis' own clock
 * decides in production is shown by tests/api/order-routes.test.ts.
 */
import { inspect, isDeepStrictEqual } from 'node:util';
import { loadLuaScripts } from '@flash-sale/core/inventory/lua-script.ts';
import type { Redis } from 'ioredis';
import type { Mutation } from './mutations.ts';

/** Microseconds since 1970 at which sequences start. */
export const START_US = 1_800_000_000_123_456;

export const clockKey = (firstKey: string): string => `${firstKey}:clock`;

export async function setClock(redis: Redis, firstKey: string, us: number): Promise<void> {
  await redis.hset(clockKey(firstKey), { seconds: Math.floor(us / 1e6), microseconds: us % 1e6 });
}

const scripts = new Map(loadLuaScripts().map((script) => [script.name, script]));

/**
 * Redefines the scripts of a connection: with the test's clock and, if given, without one guard.
 * Call it after everything that defines the scripts.
 *
 * @throws if the script does not have the mutation's text exactly once
 */
export function useTestClock(redis: Redis, mutation?: Mutation): void {
  for (const { name, source } of scripts.values()) {
    let lua = source;
    if (name === mutation?.script) {
      if (source.split(mutation.text).length !== 2)
        throw new Error(`lua/${name}.lua does not have once: ${mutation.text}`);
      lua = source.replace(mutation.text, () => mutation.becomes);
    }
    lua = lua.replace("redis.call('TIME')", "redis.call('HMGET', KEYS[1] .. ':clock', 'seconds', 'microseconds')");
    redis.defineCommand(name, { lua });
  }
}

/** Names of the invariants that a script keeps. */
export const keptBy = (script: string): string[] => scripts.get(script)?.keeps.match(/I\d+/g) ?? [];

/** A difference between Redis and the model. */
export class ModelMismatch extends Error {
  override name = 'ModelMismatch';
}

/**
 * @param what is called only if they differ, because text takes longer than the comparison.
 * @throws ModelMismatch
 */
export function expectSame(what: () => string, inRedis: unknown, inModel: unknown): void {
  if (isDeepStrictEqual(inRedis, inModel)) return;
  const show = (value: unknown): string => inspect(value, { depth: 8, breakLength: 140, sorted: true });
  throw new ModelMismatch(`${what()}\n  in Redis: ${show(inRedis)}\n  in the model: ${show(inModel)}`);
}

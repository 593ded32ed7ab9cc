/**
 * k6/wrk-post-order.lua counts replies as `npm run load` reads them. Redis' Lua runs it, with a
 * stand-in for wrk.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { expect, inject, test } from 'vitest';
import type { Crowd } from '../../scripts/load/crowd.ts';
import { openWorld } from '../support/world.ts';
import { root } from '../tidy/source-files.ts';

const script = readFileSync(join(root, 'k6', 'wrk-post-order.lua'), 'utf8');

/** Redis lets no script set a global; so what the script and wrk share are locals around it. */
const played = `
  local setup, init, request, response, done, asked, unexpected, by_status, by_code, path, run_id, thread_number
  local shared = {}
  local printed = ''
  local print = function(text) printed = text end
  local os = { time = function() return 1 end }
  local wrk = { path = '/orders', headers = {}, format = function(_, path, headers) return headers['X-User-ID'] end }
  ${script}
  local thread = { set = function(_, name, value) shared[name] = value end }
  thread.get = function(_, name)
    return ({ asked = asked, unexpected = unexpected, by_status = by_status, by_code = by_code })[name]
  end
  setup(thread)
  thread_number, run_id = shared.thread_number, shared.run_id
  init()
  local buyers = { request(), request(), request(), request(), request() }
  response(200, {}, '{"order_id":"x"}')
  response(400, {}, '{"code":"SOLD_OUT"}')
  response(500, {}, '{"code":"INTERNAL"}')
  response(400, {}, '')
  local latency = { max = 9000, percentile = function(_, part) return part * 10 end }
  done({ duration = 2e6, errors = { connect = 0, read = 1, write = 1, timeout = 0 } }, latency)
  return { printed, buyers[1], buyers[2] }`;

test("the result line has every reply, and what was cut off; every order is another buyer's", async () => {
  const world = await openWorld(inject('template'));
  const redis = new Redis(world.redisUrl);
  try {
    const [printed, first, second] = (await redis.eval(played, 0)) as [string, string, string];
    expect(first).not.toBe(second);
    const result = JSON.parse(/^result: (\{.*\})$/.exec(printed)?.[1] ?? '{}') as Crowd;
    expect(result).toEqual({
      seconds: 2,
      requests: 4,
      accepted: 1,
      refused: { SOLD_OUT: 1, INTERNAL: 1, no_code: 1 },
      unexpected: 2,
      unanswered: 1,
      broken: 2,
      latencyMs: { p50: 0.5, p95: 0.95, p99: 0.99, max: 9 },
    });
  } finally {
    redis.disconnect();
    await world.close();
  }
});

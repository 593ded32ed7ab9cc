/**
 * A Redis that cannot be trusted with stock, or a user that may not use it: refused at the start,
 * and at a reconnect until it is mended.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, expect, test, vi } from 'vitest';
import { openApi, useFolder, useOwnRedis } from '../support/fixtures.ts';
import { freePort } from '../support/free-port.ts';
import { startProcess, startWorkerHere } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';
import { useWorkerSteps } from '../support/worker-steps.ts';
import { eventually } from '../support/world.ts';
import { root } from '../tidy/source-files.ts';

vi.setConfig({ testTimeout: 60_000 });

const world = useOwnRedis();
const steps = useWorkerSteps(world);
const folder = useFolder();
let url: string;

const [, documented = ''] = /^(~flash-sale.*)$/m.exec(readFileSync(join(root, 'docs/reference.md'), 'utf8')) ?? [];
const setUser = (...rules: string[]) => world.redis.acl('SETUSER', 'services', ...rules);
const rules = (): string[] => documented.replaceAll('flash-sale', world.prefix).split(' ');
const keys = (): string[] => rules().filter((rule) => rule.startsWith('~'));
const channels = (): string[] => rules().filter((rule) => rule.startsWith('&'));

beforeEach(async () => {
  await setUser('reset', 'on', '>secret', ...rules());
  const changed = new URL(world.redisUrl);
  [changed.username, changed.password] = ['services', 'secret'];
  url = changed.href;
});

const NEEDS = /The user of REDIS_URL lacks a right in Redis \(NOPERM.*\)\. Give it the rules of docs.*ACL SETUSER/;
const unfit: [what: string, spoil: () => Promise<unknown>, mend: () => Promise<unknown>, sentence: RegExp][] = [
  [
    'a maxmemory-policy that evicts',
    () => world.redis.config('SET', 'maxmemory-policy', 'allkeys-lru'),
    () => world.redis.config('SET', 'maxmemory-policy', 'noeviction'),
    /Redis would evict keys.*CONFIG SET maxmemory-policy noeviction/,
  ],
  ['no right to INFO', () => setUser('-info'), () => setUser('+info'), NEEDS],
  ['no right to the keys', () => setUser('resetkeys', '~other:*'), () => setUser(...keys()), NEEDS],
  [
    'no right to the keys of the queue',
    () => setUser('resetkeys', `~${world.prefix}:*`),
    () => setUser('resetkeys', ...keys()),
    NEEDS,
  ],
];

test('an API without a right to the channels does not start; one that loses it goes on, and subscribes again', async () => {
  const api = await startProcess({ ...world, redisUrl: url }, 'api');
  await setUser('resetchannels');
  await expect(startProcess({ ...world, redisUrl: url }, 'api')).rejects.toThrow(NEEDS);
  await world.redis.client('KILL', 'USER', 'services');
  await eventually('it says so', 5_000, () => /api-subscriber.*NOPERM.*channels/.test(api.output()));
  await setUser(...channels());
  const subscribed = async () => (await world.redis.call('PUBSUB', 'NUMPAT')) === 1;
  await eventually('it is subscribed again', 5_000, subscribed);
  expect(await api.stop()).toBe(0);
});

test.each(unfit)('%s: API and worker do not start', async (_, spoil, mend, sentence) => {
  await spoil();
  try {
    await Promise.all(
      (['api', 'worker'] as const).map(async (name) => {
        const refused = startProcess({ ...world, redisUrl: url }, name);
        await expect(refused).rejects.toThrow(`${name} ended (78)`);
        await expect(refused).rejects.toThrow(sentence);
      }),
    );
  } finally {
    await mend();
  }
});

test.each(unfit)('%s after a reconnect: no order is taken until it is mended', async (_, spoil, mend, sentence) => {
  const sale = await makeSale(world);
  const settings = { REDIS_URL: url };
  const [api, worker] = [await openApi(world, settings), await startWorkerHere(world, settings)];
  const word = async () => (await api.order(sale.id)).word;
  expect(await word()).toBe('200 accepted');
  const areSold = (units: number) => async () => (await steps.numbers(sale.id))?.sold === units;
  await eventually('it is confirmed', 10_000, areSold(1));
  world.lines.length = 0;
  await spoil();
  await world.redis.client('KILL', 'USER', 'services');
  const said = () =>
    world.lines.flatMap(({ connection, err }) => (connection && sentence.test(String(err)) ? [connection] : []));
  await eventually('each connection says so', 5_000, () => said().length >= 4);
  expect(said().sort()).toEqual(['api-inventory', 'api-queue', 'worker-inventory', 'worker-queue']);
  expect(await word()).toBe('503 INVENTORY_UNAVAILABLE');
  expect((await api.get('/health/ready')).status).toBe(503);
  await mend();
  await eventually('orders again', 5_000, async () => (await word()) === '200 accepted');
  await eventually('both are confirmed', 20_000, areSold(2));
  await Promise.all([api.close(), worker.stop()]);
});

test('`npm start` ends with the same code over an unfit server', async () => {
  await world.redis.config('SET', 'maxmemory-policy', 'allkeys-lru');
  const env = {
    PATH: process.env.PATH,
    HOME: folder.path,
    DATA_DIR: folder.path,
    REDIS_URL: url,
    DATABASE_URL: world.databaseUrl,
    PORT: String(await freePort()),
  };
  const child = spawn(process.execPath, [join(root, 'scripts/start.ts')], { env });
  let said = '';
  child.stderr.on('data', (chunk) => (said += chunk));
  const [code] = await once(child, 'close');
  await world.redis.config('SET', 'maxmemory-policy', 'noeviction');
  expect(said).toMatch(/Redis would evict keys/);
  expect(code).toBe(78);
});

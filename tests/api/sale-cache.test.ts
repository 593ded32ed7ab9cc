/** HTTP caching of sales and of everything else: a cached response is neither old nor wrong. */
import { request } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { expect, test, vi } from 'vitest';
import type { AnyJson } from '../support/any-json.ts';
import { BEARER, times, useApi, useWorld, withApi } from '../support/fixtures.ts';
import { makeSale } from '../support/sales.ts';
import { eventually } from '../support/world.ts';

const SHARED = 'public, max-age=0, s-maxage=1';
const PRIVATE = 'private, no-store';

interface Look {
  readonly status: number;
  readonly headers: Record<string, string | undefined>;
  readonly text: string;
}

const world = useWorld();
const api = useApi(world);

/** Uses node:http, because fetch() has a cache control of its own. */
function look(path: string, headers: Record<string, string> = {}, method = 'GET'): Promise<Look> {
  return new Promise((resolve, reject) => {
    const sent = request(`${api.url}${path}`, { method, headers }, async (response) => {
      let text = '';
      for await (const chunk of response.setEncoding('utf8')) text += chunk;
      resolve({ status: response.statusCode as number, headers: response.headers as Look['headers'], text });
    });
    sent.on('error', reject).end();
  });
}

const pathsOf = (saleId: string) => ['/api/flash-sales', `/api/flash-sales/${saleId}`] as const;
const read = async (saleId: string): Promise<AnyJson> => JSON.parse((await look(pathsOf(saleId)[1])).text);
const order = (saleId: string, buyer: string): Promise<Look> =>
  look(`/api/flash-sales/${saleId}/order`, { 'x-user-id': buyer }, 'POST');

/** Makes looks at one response: again, if the response changed meanwhile. */
async function withinOneAnswer(path: string, looks: (etag: string) => Promise<Look>[]): Promise<Look[]> {
  let seen: Look[] = [];
  await eventually('the response stays for some looks', 10_000, async () => {
    const { etag } = (await look(path)).headers;
    seen = await Promise.all(looks(etag as string));
    return (await look(path)).headers.etag === etag;
  });
  return seen;
}

/** Runs `work` while reads of the inventory go through `read`. */
async function withReads(
  read: typeof api.connections.inventory.read,
  work: (readThrough: typeof api.connections.inventory.read) => Promise<void>,
): Promise<void> {
  const { inventory } = api.connections;
  const kept = inventory.read;
  inventory.read = read;
  await work(kept).finally(() => (inventory.read = kept));
}

test('a response keeps its ETag while it lasts; another number has another ETag', async () => {
  const sale = await makeSale(world);
  for (const path of pathsOf(sale.id)) {
    const looks = await withinOneAnswer(path, () => Array.from({ length: 30 }, () => look(path)));
    expect(new Set(looks.map(({ headers }) => headers.etag)).size).toBe(1);
    expect(new Set(looks.map(({ text }) => text)).size).toBe(1);
    expect(looks[0]?.headers).toMatchObject({ etag: expect.stringMatching(/^"[\w-]{22}"$/), age: '0' });
  }
  const texts = new Map<string, Set<string>>();
  await eventually('there were three responses', 10_000, async () => {
    await order(sale.id, `b${texts.size}`);
    const { headers, text } = await look(pathsOf(sale.id)[1]);
    const etag = headers.etag as string;
    texts.set(etag, (texts.get(etag) ?? new Set()).add(text));
    return texts.size > 2;
  });
  for (const under of texts.values()) expect(under.size).toBe(1);
  expect(new Set([...texts.values()].flatMap((under) => [...under])).size).toBe(texts.size);
});

test('If-None-Match: 304 without a body for a tag, a weak one, one in a list and *; else the whole response', async () => {
  const sale = await makeSale(world);
  for (const path of pathsOf(sale.id)) {
    const known = (etag: string) => [etag, `W/${etag}`, `"other", ${etag}`, `W/"other",W/${etag} , "third"`, '*'];
    const unknown = (etag: string) => ['"other"', 'W/"other", "third"', etag.slice(1, -1), etag.toLowerCase(), ''];
    const ask = (tag: string) => look(path, { 'if-none-match': tag });
    for (const { status, text, headers } of await withinOneAnswer(path, (etag) => known(etag).map(ask))) {
      expect([status, text]).toEqual([304, '']);
      const { etag, date } = headers;
      expect(headers).toMatchObject({ 'cache-control': SHARED, age: '0' });
      expect([etag, date]).toEqual([expect.any(String), expect.any(String)]);
      expect(headers).not.toHaveProperty('content-length');
      expect(headers).not.toHaveProperty('content-type');
    }
    for (const { status, text } of await withinOneAnswer(path, (etag) => unknown(etag).map(ask)))
      expect([status, JSON.parse(text).server_time]).toEqual([200, expect.any(String)]);
    // What fetch() adds if a page sets If-None-Match.
    const [added] = await withinOneAnswer(path, (etag) => [
      look(path, { 'if-none-match': etag, 'cache-control': 'no-cache', pragma: 'no-cache' }),
    ]);
    expect(added?.status).toBe(304);
  }
});

test('HEAD has the headers of GET, and no body', async () => {
  const sale = await makeSale(world, { description: 'Ünïcode 秒杀' });
  for (const path of [...pathsOf(sale.id), '/api/flash-sales/made-up']) {
    const looks = path.endsWith('made-up')
      ? await Promise.all([look(path), look(path, {}, 'HEAD')])
      : await withinOneAnswer(path, (etag) => [
          look(path),
          look(path, {}, 'HEAD'),
          look(path, { 'if-none-match': etag }, 'HEAD'),
        ]);
    const [whole, head, unchanged] = looks.map((one): Look => ({ ...one, headers: { ...one.headers, date: '' } }));
    expect(head).toEqual({ ...whole, text: '' });
    expect(Number(head?.headers['content-length'])).toBe(Buffer.byteLength(whole?.text as string));
    expect([unchanged?.status ?? 304, unchanged?.text ?? '']).toEqual([304, '']);
  }
});

test('a CDN may keep sales for a second; orders, health, operators and refusals never; nothing varies', async () => {
  const sale = await makeSale(world);
  const [list, page] = pathsOf(sale.id);
  const placed = await order(sale.id, 'ann');
  const own = `/api/orders/${JSON.parse(placed.text).order_id}`;
  const admin = `/api/admin/sales/${sale.id}`;
  const looks: [string, Look, number, string][] = [
    ['the list', await look(list), 200, SHARED],
    ['a sale', await look(page), 200, SHARED],
    ['a made-up sale', await look('/api/flash-sales/made-up'), 404, SHARED],
    ['no id', await look('/api/flash-sales/No%20Id'), 404, SHARED],
    ['no path', await look('/api/nothing'), 404, PRIVATE],
    ['an order', placed, 200, PRIVATE],
    ['an order without a buyer', await look(`${page}/order`, {}, 'POST'), 401, PRIVATE],
    ['an order of no sale', await order('made-up', 'ann'), 404, PRIVATE],
    ["a buyer's order", await look(own, { 'x-user-id': 'ann' }), 200, PRIVATE],
    ["another buyer's order", await look(own, { 'x-user-id': 'bob' }), 404, PRIVATE],
    ['health', await look('/health'), 503, PRIVATE],
    ['live', await look('/health/live'), 200, PRIVATE],
    ['ready', await look('/health/ready'), 200, PRIVATE],
    ['an operator', await look(admin, BEARER), 200, 'no-store'],
    ['a stranger as operator', await look(admin), 401, PRIVATE],
  ];
  const refused = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED', part: 'redis' });
  const unavailable = () => Promise.reject(refused);
  await withReads(unavailable, async () => {
    await eventually('nothing is cached', 2_000, async () => (await look(page)).status !== 200);
    looks.push(['a sale, the inventory is unavailable', await look(page), 503, PRIVATE]);
    looks.push(['the list, the inventory is unavailable', await look(list), 503, PRIVATE]);
  });
  for (const [what, { status, headers }, expectedStatus, cacheControl] of looks) {
    expect([what, status, headers['cache-control']]).toEqual([what, expectedStatus, cacheControl]);
    expect([what, headers.vary]).toEqual([what, undefined]);
    expect([what, 'etag' in headers]).toEqual([what, status === 200 && cacheControl === SHARED]);
  }
});

test('a shed read must not be cached', async () => {
  const sale = await makeSale(world);
  await withApi(world, { OVERLOAD_IN_FLIGHT: 1 }, async (narrow) => {
    const looks = await times(20, () => narrow.get(pathsOf(sale.id)[1]));
    const shed = looks.filter(({ status }) => status === 503);
    expect(shed.length).toBeGreaterThan(0);
    for (const { headers } of shed) expect(headers.get('cache-control')).toBe(PRIVATE);
  });
});

test('no number is older than a second, in the list and in the sale, while units are sold', async () => {
  const sale = await makeSale(world, { units: 500 });
  const [list, page] = pathsOf(sale.id);
  /** The time from which so many units were no longer left. */
  const untrueSince = new Map<number, number>();
  const ages: number[] = [];
  // Some periods of the cache, and more of them if the machine is slow.
  const [soonest, latest] = [Date.now() + 2_500, Date.now() + 9_000];
  const isDone = () => Date.now() > latest || (Date.now() > soonest && ages.length > 100 && Math.max(...ages) > 100);
  const sell = async () => {
    for (let left = 500; !isDone(); left--) {
      expect((await order(sale.id, `b${left}`)).status).toBe(200);
      untrueSince.set(left, Date.now());
      await pause(20);
    }
  };
  const watch = async (path: string, remaining: (body: AnyJson) => number | undefined) => {
    while (!isDone()) {
      const askedAt = Date.now();
      const left = remaining(JSON.parse((await look(path)).text));
      if (left !== undefined) ages.push(askedAt - (untrueSince.get(left) ?? askedAt));
      await pause(3);
    }
  };
  await Promise.all([
    sell(),
    watch(page, (body) => body.product?.remaining),
    watch(list, (body) => body.flash_sales.find(({ id }: AnyJson) => id === sale.id)?.remaining),
  ]);
  expect(ages.length).toBeGreaterThan(100);
  expect(Math.max(...ages)).toBeGreaterThan(100);
  expect(Math.max(...ages)).toBeLessThan(1_000);
});

test('an inventory that takes a second to answer is in Age, so that a CDN adds no second', async () => {
  const sale = await makeSale(world);
  const { read: readInventory } = api.connections.inventory;
  const slowly: typeof readInventory = async (id) => {
    const found = await readInventory(id);
    await pause(1_050);
    return found;
  };
  await withReads(slowly, async () => {
    for (const path of pathsOf(sale.id))
      await eventually('a slow answer', 5_000, async () => (await look(path)).headers.age === '1');
  });
});

test('300 reads of a sale and of the list cost a few commands of Redis, and are a few responses', async () => {
  const sale = await makeSale(world);
  const [list, page] = pathsOf(sale.id);
  const sent = vi.spyOn(Redis.prototype, 'sendCommand');
  // Other clients of this process are of other worlds.
  const commandsSent = () => sent.mock.calls.filter(([{ args }]) => args.join(' ').includes(world.prefix)).length;
  await Promise.all([look(page), look(list)]);
  expect(commandsSent()).toBeGreaterThan(0);
  const startedAt = Date.now();
  const looks = await times(300, (i) => look(i % 2 ? list : page));
  const periods = Math.ceil((Date.now() - startedAt) / 400) + 2;
  const commands = commandsSent();
  expect(looks.every(({ status }) => status === 200)).toBe(true);
  // Each period: the numbers of each current sale, once; a few responses.
  const current = JSON.parse((await look(`${list}?state=all`)).text).count;
  expect(commands).toBeLessThanOrEqual(periods * (4 + current));
  expect(new Set(looks.map(({ headers }) => headers.etag)).size).toBeLessThanOrEqual(periods * 4);
});

test('an operator’s change through this process is in the next read, also under concurrent reads', async () => {
  const sale = await makeSale(world);
  const { sales } = api.connections;
  const readLedger = sales.list;
  // While the crowd's read of the ledger is under way, the sale changes.
  sales.list = async (filter) => {
    const found = await readLedger(filter);
    await pause(30);
    return found;
  };
  let busy = true;
  const crowd = Array.from({ length: 5 }, async () => {
    for (; busy; await pause(2)) expect((await read(sale.id)).product.id).toBe(sale.id);
  });
  const listed = async () =>
    JSON.parse((await look('/api/flash-sales')).text).flash_sales.some(({ id }: AnyJson) => id === sale.id);
  for (let i = 0; i < 8; i++) {
    expect((await api.admin('POST', `/sales/${sale.id}/pause`)).status).toBe(200);
    expect([(await read(sale.id)).product.state, await listed()]).toEqual(['paused', false]);
    expect((await api.admin('POST', `/sales/${sale.id}/resume`)).status).toBe(200);
    expect([(await read(sale.id)).product.state, await listed()]).toEqual(['active', true]);
  }
  busy = false;
  sales.list = readLedger;
  await Promise.all(crowd);
});

test('a response does not outlast the start of its sale', async () => {
  const startsAt = Date.now() + 1_000;
  const sale = await makeSale(world, { startsAt, endsAt: startsAt + 60_000 });
  const late: number[] = [];
  for (let active = false; !active; await pause(5)) {
    const askedAt = Date.now();
    const { product } = await read(sale.id);
    active = product?.state === 'active';
    if (!active) late.push(askedAt - startsAt);
  }
  expect(late.length).toBeGreaterThan(3);
  // Otherwise it would be up to 400.
  expect(Math.max(...late)).toBeLessThan(100);
});

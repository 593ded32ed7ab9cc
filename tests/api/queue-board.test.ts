/** The queue board: who may see it, what it shows, and that it changes nothing. Over real HTTP. */

import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { ADMIN_TOKEN, type RunningApi, startApi, startWorkerHere } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';
import { openWorld, type World } from '../support/world.ts';

let world: World;
let api: RunningApi;
let worker: { stop(): Promise<void> };

beforeAll(async () => {
  world = await openWorld(inject('template'));
  [api, worker] = await Promise.all([startApi(world), startWorkerHere(world)]);
});
afterAll(async () => {
  await Promise.all([api.close(), worker.stop()]);
  await world.close();
});

const login = { authorization: `Basic ${Buffer.from(`admin:${ADMIN_TOKEN}`).toString('base64')}` };

/** A script in a page, if the board put names into one. */
const BUYER = '<img/src=x/onerror=alert(1)>';

test('asks a browser to log in, and shows what each job carries', async () => {
  const closed = await fetch(`${api.url}/admin/queues`);
  expect([closed.status, closed.headers.get('www-authenticate')]).toEqual([
    401,
    'Basic realm="operator", charset="UTF-8"',
  ]);
  for (const path of ['/admin/queues/api/queues', '/admin/queues/static/x.js', '/admin/queues/queue/confirm-orders']) {
    expect((await fetch(`${api.url}${path}`)).status, path).toBe(401);
  }
  const wrong = await fetch(`${api.url}/admin/queues`, { headers: { authorization: `Basic ${btoa('admin:nope')}` } });
  expect(wrong.status).toBe(401);
  const page = await fetch(`${api.url}/admin/queues`, { headers: login });
  expect([page.status, page.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8']);

  const sale = await makeSale(world);
  const ordered = await fetch(`${api.url}/api/flash-sales/${sale.id}/order`, {
    method: 'POST',
    headers: { 'x-user-id': BUYER },
  });
  const placed = (await ordered.json()) as { order_id: string };
  // Without the sale's id, which the job says once.
  const orderRow = `["${placed.order_id.slice(sale.id.length + 1)}","${BUYER}",1,`;
  let found = '';
  for (let i = 0; i < 50 && !found.includes(orderRow); i++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    const jobs = await fetch(
      `${api.url}/admin/queues/api/queues?activeQueue=confirm-orders&status=completed&page=1&jobsPerPage=100`,
      { headers: login },
    );
    expect(jobs.headers.get('content-type')).toContain('application/json');
    expect(jobs.headers.get('x-content-type-options')).toBe('nosniff');
    found = await jobs.text();
  }
  expect(found).toContain(`"sale_id":"${sale.id}"`);
  expect(found).toContain(orderRow);
});

test.each([
  ['POST', 'confirm-orders/add'],
  ['PATCH', 'confirm-orders/job-1/update-data'],
  ['PUT', 'confirm-orders/obliterate'],
  ['PUT', 'confirm-orders/pause'],
  ['PUT', 'pause'],
  ['PUT', 'confirm-orders/job-1/clean'],
])('%s …/%s: it shows and changes nothing, so that no other site can use the login either', async (method, path) => {
  const answer = await fetch(`${api.url}/admin/queues/api/queues/${path}`, {
    method,
    headers: { ...login, 'content-type': 'application/json' },
    body: '{"name":"confirm-orders","data":{"sale_id":"x","orders":[]}}',
  });
  expect([answer.status, ((await answer.json()) as { code: string }).code]).toEqual([403, 'BOARD_IS_READ_ONLY']);
  expect(await api.connections.queue.bullQueue.isPaused()).toBe(false);
});

test('cannot be shown in a frame of another site', async () => {
  const page = await fetch(`${api.url}/admin/queues`, { headers: login });
  expect(page.headers.get('content-security-policy')).toContain("frame-ancestors 'none'");
});

/** The queue board: who may see it, what it shows, and that it changes nothing. Over real HTTP. */
import { expect, test } from 'vitest';
import { LOGIN, useApi, useWorker, useWorld } from '../support/fixtures.ts';
import { makeSale } from '../support/sales.ts';
import { eventually } from '../support/world.ts';

const world = useWorld();
const api = useApi(world);
useWorker(world);

/** A script in a page, if the board put names into one. */
const BUYER = '<img/src=x/onerror=alert(1)>';
const QUEUE = '/admin/queues/api/queues';

test('asks a browser to log in, and shows what each job carries', async () => {
  const closed = await api.get('/admin/queues');
  expect([closed.status, closed.headers.get('www-authenticate')]).toEqual([
    401,
    'Basic realm="operator", charset="UTF-8"',
  ]);
  for (const path of [QUEUE, '/admin/queues/static/x.js', '/admin/queues/queue/confirm-orders'])
    expect((await api.get(path)).status, path).toBe(401);
  expect((await api.get('/admin/queues', { authorization: `Basic ${btoa('admin:nope')}` })).status).toBe(401);
  const page = await api.get('/admin/queues', LOGIN);
  expect([page.status, page.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8']);

  const sale = await makeSale(world);
  const { body: placed } = await api.order(sale.id, { buyer: BUYER });
  // Without the sale's id, which the job says once.
  const orderRow = `["${placed.order_id.slice(sale.id.length + 1)}","${BUYER}",1,`;
  await eventually('the board shows the order', 5_000, async () => {
    const jobs = await api.get(`${QUEUE}?activeQueue=confirm-orders&status=completed&page=1&jobsPerPage=100`, LOGIN);
    expect(jobs.headers.get('content-type')).toContain('application/json');
    expect(jobs.headers.get('x-content-type-options')).toBe('nosniff');
    return jobs.text.includes(orderRow) && jobs.text.includes(`"sale_id":"${sale.id}"`);
  });
});

test.each([
  ['404 NOT_FOUND', '/admin/queues/api/queues/none'],
  ['404 NOT_FOUND', '/admin/queues/api/queues/none/pause'],
  ['404 NOT_FOUND', '/admin/queues/api/queues/confirm-orders/none'],
  ['404 NOT_FOUND', '/admin/queues/static/none.js'],
  ['400 INVALID_REQUEST', '/admin/queues/api/queues?activeQueue=confirm-orders&status=none'],
  ['500 INTERNAL', '/admin/queues/api/queues?activeQueue=confirm-orders&status=completed'],
])('an error of the board is a problem: %s %s', async (word, path) => {
  const { getJobs } = api.connections.queue.bullQueue;
  api.connections.queue.bullQueue.getJobs = () => Promise.reject(new Error('secret-word'));
  const answer = await api.get(path, LOGIN);
  api.connections.queue.bullQueue.getJobs = getJobs;
  expect([answer.word, answer.headers.get('content-type')]).toEqual([word, 'application/problem+json; charset=utf-8']);
  expect(answer.body.request_id).toEqual(expect.any(String));
  expect(answer.text).not.toContain('secret-word');
});

test.each([
  ['POST', 'confirm-orders/add'],
  ['PATCH', 'confirm-orders/job-1/update-data'],
  ['PUT', 'confirm-orders/obliterate'],
  ['PUT', 'confirm-orders/pause'],
  ['PUT', 'pause'],
  ['PUT', 'confirm-orders/job-1/clean'],
])('%s …/%s is refused: another site cannot use the login to change the queue', async (method, path) => {
  const body = { name: 'confirm-orders', data: { sale_id: 'x', orders: [] } };
  expect((await api.ask(`${QUEUE}/${path}`, { method, headers: LOGIN, body })).word).toBe('403 BOARD_IS_READ_ONLY');
  expect(await api.connections.queue.bullQueue.isPaused()).toBe(false);
});

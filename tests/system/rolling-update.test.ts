/**
 * A rolling update behind a real balancer, while buyers order: each API process is replaced, a worker is removed. No buyer sees it, and no
 * order is lost. Without the time to drain, buyers do see it.
 */

import type { UnpackedProgram } from '@flash-sale/launcher/debian-program.ts';
import { afterEach, beforeAll, beforeEach, expect, inject, test } from 'vitest';
import { auditHere } from '../support/audited.ts';
import { startCrowd, tallyOf } from '../support/buyers.ts';
import { freePort } from '../support/free-port.ts';
import { type Balancer, findHaproxy, startBalancer } from '../support/haproxy.ts';
import { type ServiceProcess, startProcess } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';
import { eventually, openWorld, type World } from '../support/world.ts';

/** Several times what the balancer takes to notice, on a machine that does other things as well. */
const DRAIN_MS = 2_500;
const BUYERS = 8;

let haproxy: UnpackedProgram;
let world: World;
let balancer: Balancer;
let ports: number[];
let running: ServiceProcess[];

beforeAll(async () => {
  haproxy = await findHaproxy();
}, 120_000);
beforeEach(async () => {
  world = await openWorld(inject('template'));
  // The third one is for the process that takes another one's place: it is started before that one is stopped.
  ports = [await freePort(), await freePort(), await freePort()];
  balancer = await startBalancer(haproxy, await freePort(), ports);
  running = [];
});
afterEach(async () => {
  await Promise.all(running.map((one) => one.kill()));
  await balancer.stop();
  await world.close();
});

async function start(name: 'api' | 'worker', settings: Record<string, string> = {}): Promise<ServiceProcess> {
  const started = await startProcess(world, name, settings);
  running.push(started);
  return started;
}
const startApiAt = (slot: number, drainMs: number): Promise<ServiceProcess> =>
  start('api', { PORT: String(ports[slot]), SHUTDOWN_DRAIN_MS: String(drainMs) });

/** Exit code 0: nothing was left. */
async function remove(process_: ServiceProcess): Promise<void> {
  running.splice(running.indexOf(process_), 1);
  expect(await process_.stop(), process_.output()).toBe(0);
}

/** Buyers who order through the balancer until they are told to stop. */
const sendBuyers = (saleId: string) =>
  startCrowd({ urls: [balancer.url], saleId, connections: BUYERS, ordersPerSecond: BUYERS * 100 });

const untilServed = () =>
  eventually('the balancer has somebody', 10_000, async () => (await fetch(`${balancer.url}/health/ready`)).ok);
const acceptedBy = (api: ServiceProcess): number => api.output().split('"msg":"order accepted"').length - 1;

test('each API process is replaced and a worker is removed: no buyer is told so, and every order is confirmed', async () => {
  const sale = await makeSale(world, { units: 100_000 });
  const [one, two, worker] = await Promise.all([
    startApiAt(0, DRAIN_MS),
    startApiAt(1, DRAIN_MS),
    start('worker'),
    start('worker'),
  ]);
  await untilServed();
  const crowd = sendBuyers(sale.id);
  await eventually('both serve', 10_000, () => acceptedBy(one) > 20 && acceptedBy(two) > 20);

  const three = await startApiAt(2, DRAIN_MS);
  await remove(one);
  const four = await startApiAt(0, DRAIN_MS);
  await Promise.all([remove(two), remove(worker)]);
  await eventually('their successors serve', 10_000, () => acceptedBy(three) > 20 && acceptedBy(four) > 20);

  await crowd.stop();
  const tally = tallyOf(crowd.replies);
  const accepted = [one, two, three, four].reduce((sum, api) => sum + acceptedBy(api), 0);
  expect(tally).toEqual({ '200 accepted': accepted });
  await eventually('every order is confirmed', 30_000, async () => {
    const { rows } = await world.pool.query(`SELECT count(*)::int AS n FROM orders WHERE status = 'confirmed'`);
    return rows[0].n === accepted;
  });
  const report = await auditHere(world, sale.id);
  expect(report).toMatchObject({ clean: true, sales: [{ violations: [] }] });
}, 60_000);

test('control: without the time to drain, the balancer sends buyers to a process that has gone', async () => {
  const sale = await makeSale(world, { units: 100_000 });
  const [one] = await Promise.all([startApiAt(0, 0), startApiAt(1, 0)]);
  await untilServed();
  const crowd = sendBuyers(sale.id);
  await eventually('both serve', 10_000, () => acceptedBy(one) > 20);
  await remove(one);
  const before = crowd.replies.length;
  await eventually('buyers came after it had gone', 10_000, () => crowd.replies.length > before + 100);
  await crowd.stop();
  expect(Object.keys(tallyOf(crowd.replies)).filter((seen) => seen !== '200 accepted')).not.toEqual([]);
}, 60_000);

/**
 * A rolling update behind HAProxy while buyers order: each API process is replaced and a worker is
 * removed. No buyer notices, and no order is lost. Control: without SHUTDOWN_DRAIN_MS buyers
 * notice.
 */
import { expect } from 'vitest';
import { auditHere } from '../support/audited.ts';
import { startCrowd, tallyOf } from '../support/buyers.ts';
import { freePort } from '../support/free-port.ts';
import { findHaproxy, startBalancer } from '../support/haproxy.ts';
import { type ServiceProcess, startProcess } from '../support/running-system.ts';
import { makeSale, untilSold } from '../support/sales.ts';
import { test } from '../support/system-test.ts';
import { eventually } from '../support/world.ts';

/** Several times what the balancer needs to notice, on a busy machine. */
const DRAIN_MS = 2_500;
const BUYERS = 8;

/** Exit code 0: nothing was left to do. */
const stop = async (one: ServiceProcess): Promise<void> => expect(await one.stop(), one.output()).toBe(0);

const acceptedBy = (api: ServiceProcess): number => api.output().split('"msg":"order accepted"').length - 1;
const untilServing = (...apis: ServiceProcess[]): Promise<void> =>
  eventually('each API serves buyers', 10_000, () => apis.every((api) => acceptedBy(api) > 20));

test('API processes are replaced and a worker is removed: no buyer notices, every order is confirmed', async ({
  world,
}) => {
  // The third port is for a successor, which starts before its predecessor stops.
  const ports = [await freePort(), await freePort(), await freePort()] as const;
  const balancer = await startBalancer(await findHaproxy(), await freePort(), [...ports]);
  world.onClose(balancer.stop);
  const start = (port: number, drainMs: number) =>
    startProcess(world, 'api', { PORT: String(port), SHUTDOWN_DRAIN_MS: String(drainMs) });
  const sale = await makeSale(world, { units: 100_000 });
  const sendBuyers = () =>
    startCrowd({ urls: [balancer.url], saleId: sale.id, connections: BUYERS, ordersPerSecond: BUYERS * 100 });
  const [one, two, worker] = await Promise.all([
    start(ports[0], DRAIN_MS),
    start(ports[1], DRAIN_MS),
    startProcess(world, 'worker'),
    startProcess(world, 'worker'),
  ]);
  const isServed = async () => (await fetch(`${balancer.url}/health/ready`)).ok;
  await eventually('the balancer has a server', 10_000, isServed);
  const crowd = sendBuyers();
  await untilServing(one, two);
  const three = await start(ports[2], 0);
  await stop(one);
  const four = await start(ports[0], 0);
  await Promise.all([stop(two), stop(worker)]);
  await untilServing(three, four);
  await crowd.stop();

  const accepted = [one, two, three, four].reduce((sum, api) => sum + acceptedBy(api), 0);
  expect(tallyOf(crowd.replies)).toEqual({ '200 accepted': accepted });
  await untilSold(world, sale.id, accepted);
  const { rows } = await world.pool.query(`SELECT count(*)::int AS n FROM orders WHERE status = 'confirmed'`);
  expect(rows[0].n).toBe(accepted);
  expect(await auditHere(world, sale.id)).toMatchObject({ clean: true, sales: [{ violations: [] }] });

  // Control: this one stops without draining.
  const unlucky = sendBuyers();
  await eventually('buyers are served', 10_000, () => unlucky.replies.length > 50);
  await stop(three);
  const before = unlucky.replies.length;
  await eventually('buyers came after it had gone', 10_000, () => unlucky.replies.length > before + 100);
  await unlucky.stop();
  expect(Object.keys(tallyOf(unlucky.replies)).filter((seen) => seen !== '200 accepted')).not.toEqual([]);
}, 120_000);

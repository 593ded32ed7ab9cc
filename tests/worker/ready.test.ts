/** Each worker says for itself whether it works, while /health of the API speaks of all of them together. */

import { expect, inject, test } from 'vitest';
import { TcpProxy } from '../chaos/tcp-proxy.ts';
import { freePort } from '../support/free-port.ts';
import { type ServiceProcess, startProcess } from '../support/running-system.ts';
import { eventually, openWorld } from '../support/world.ts';

test('a worker that does not reach Redis says so of itself within its 15 s, beside one that works, and is back when it does', async () => {
  const world = await openWorld(inject('template'));
  const way = await TcpProxy.listen(await freePort(), Number(new URL(world.redisUrl).port));
  const cutOff = new URL(world.redisUrl);
  cutOff.host = `127.0.0.1:${way.port}`;
  const [cut, well] = [await freePort(), await freePort()];
  const workers: ServiceProcess[] = [];
  const ready = (port: number): Promise<number> =>
    fetch(`http://127.0.0.1:${port}/health/ready`).then(({ status }) => status);
  try {
    workers.push(await startProcess(world, 'worker', { METRICS_PORT: String(cut), REDIS_URL: cutOff.href }));
    workers.push(await startProcess(world, 'worker', { METRICS_PORT: String(well) }));
    await eventually('both work', 10_000, async () => (await ready(cut)) === 200 && (await ready(well)) === 200);

    await way.refuse();
    await eventually('the one that is cut off says so', 30_000, async () => (await ready(cut)) === 503);
    expect(await ready(well)).toBe(200);

    await way.heal();
    await eventually('it works again', 20_000, async () => (await ready(cut)) === 200);
  } finally {
    for (const worker of workers) await worker.kill();
    await way.close();
    await world.close();
  }
}, 90_000);

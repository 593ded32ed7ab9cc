/** Each worker reports whether it works itself; /health of the API reports whether any does. */
import { createMetrics } from '@flash-sale/core/runtime/metrics.ts';
import { inject, test } from 'vitest';
import { startWorkerHere } from '../support/running-system.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { eventually, openWorld } from '../support/world.ts';

/** Of a worker to Redis: inventory, queue, and BullMQ's own, which waits for jobs. */
const CONNECTIONS = 3;

test('a worker that does not reach Redis reports it, another one does not, and it recovers', async () => {
  const world = await openWorld(inject('template'));
  const way = await TcpProxy.listen(Number(new URL(world.redisUrl).port));
  const cutOff = new URL(world.redisUrl);
  cutOff.host = `127.0.0.1:${way.port}`;
  const start = async (redisUrl: string) => {
    const metrics = createMetrics();
    const { port, close } = await metrics.listen({ host: '127.0.0.1', port: 0 });
    const worker = await startWorkerHere(world, { REDIS_URL: redisUrl, WORKER_ALIVE_MS: 1_500 }, metrics);
    return {
      ready: () => fetch(`http://127.0.0.1:${port}/health/ready`).then(({ status }) => status),
      async stop() {
        await worker.stop();
        close();
      },
    };
  };
  const [cut, well] = await Promise.all([start(cutOff.href), start(world.redisUrl)]);
  try {
    await eventually('both work', 10_000, async () => (await cut.ready()) === 200 && (await well.ready()) === 200);

    way.refuse();
    await eventually('the one that is cut off reports it', 10_000, async () => (await cut.ready()) === 503);
    await eventually('the other one works', 5_000, async () => (await well.ready()) === 200);

    way.heal();
    await eventually('it works again', 10_000, async () => (await cut.ready()) === 200);
    // BullMQ issue 4656: close() never resolves while its own connection waits to reconnect.
    await eventually('each connection is back', 10_000, () => way.connections === CONNECTIONS);
  } finally {
    way.heal();
    await Promise.all([cut.stop(), well.stop()]);
    await way.close();
    await world.close();
  }
}, 60_000);

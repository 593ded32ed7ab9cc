/** Latency under a flood: accepted buyers are as fast as without it; control: the bound is off. */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, inject, test } from 'vitest';
import { openClient } from '../support/buyers.ts';
import { freePort } from '../support/free-port.ts';
import { startProcess } from '../support/running-system.ts';
import { makeSale } from '../support/sales.ts';
import { openWorld } from '../support/world.ts';

const BOUND = 20;

/** A proxy to Redis that carries a few commands at a time, so that orders queue up. */
async function narrowWay(to: URL): Promise<{ url: string; close(): void }> {
  const sockets: Socket[] = [];
  const server = createServer((near) => {
    const far = connect(Number(to.port), to.hostname);
    sockets.push(near, far);
    for (const socket of [near, far]) socket.on('error', () => {});
    far.pipe(near);
    let waiting = Buffer.alloc(0);
    near.on('data', (data: Buffer) => (waiting = Buffer.concat([waiting, data])));
    const carry = setInterval(() => {
      far.write(waiting.subarray(0, 1_500));
      waiting = waiting.subarray(1_500);
    }, 10);
    near.on('close', () => clearInterval(carry));
  });
  server.listen(await freePort(), '127.0.0.1');
  await once(server, 'listening');
  const url = new URL(to.href);
  url.hostname = '127.0.0.1';
  url.port = String((server.address() as { port: number }).port);
  return {
    url: url.href,
    close() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

test('accepted buyers are as fast as without the flood, and without the bound they are not', async () => {
  const world = await openWorld(inject('template'));
  const way = await narrowWay(new URL(world.redisUrl));
  const sale = await makeSale(world, { units: 100_000 });
  /** Buyers order for a second; shed ones pause. @returns ms of accepted orders */
  async function run(bound: number, buyers: number): Promise<{ p50: number; p99: number; shed: number }> {
    const port = String(await freePort());
    const api = await startProcess(world, 'api', {
      PORT: port,
      REDIS_URL: way.url,
      OVERLOAD_IN_FLIGHT: String(bound),
    });
    const crowd = openClient(`http://127.0.0.1:${port}`);
    await crowd.warmUp(buyers);
    const until = performance.now() + 1_000;
    const accepted: number[] = [];
    let shed = 0;
    const buy = async (): Promise<void> => {
      while (performance.now() < until) {
        const answer = await crowd.order(sale.id);
        if (answer.status === 200) accepted.push(answer.milliseconds);
        else {
          expect(answer.code).toBe('OVERLOADED');
          shed += 1;
          await pause(100);
        }
      }
    };
    await Promise.all(Array.from({ length: buyers }, buy));
    crowd.close();
    await api.kill();
    accepted.sort((a, b) => a - b);
    const part = (share: number) => accepted[Math.floor(share * accepted.length)] as number;
    return { p50: part(0.5), p99: part(0.99), shed };
  }
  // A busy machine may spoil one measurement; a fault spoils all of them.
  for (let attempt = 1; ; attempt++) {
    const quiet = await run(BOUND, BOUND);
    const flooded = await run(BOUND, BOUND * 10);
    expect(quiet.shed).toBe(0);
    expect(flooded.shed).toBeGreaterThan(BOUND * 10);
    if (attempt === 3) expect(flooded.p99).toBeLessThan(quiet.p99 * 5);
    else if (flooded.p99 >= quiet.p99 * 5) continue;
    const control = await run(0, BOUND * 10);
    expect(control.shed).toBe(0);
    if (attempt === 3) expect(control.p50).toBeGreaterThan(flooded.p50 * 3);
    else if (control.p50 <= flooded.p50 * 3) continue;
    break;
  }
  way.close();
  await world.close();
}, 180_000);

/**
 * Warms the API up before it listens. Over loopback its own server gets orders, replays, refusals
 * of each common kind and reads, so that V8 has compiled them when the first buyer comes. They go
 * to a scratch space, and nothing of them remains.
 */
import { fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo, Server } from 'node:net';
import type { ServiceSettings } from '@flash-sale/core/run-service.ts';
import { lend } from '@flash-sale/core/runtime/lend.ts';
import { muteLines } from '@flash-sale/core/runtime/logging.ts';
import type { Tracing } from '@flash-sale/core/runtime/tracing/tracing.ts';
import { type ScratchSpace, withScratchSpace } from '@flash-sale/core/warm-up/scratch-space.ts';
import type { Logger } from 'pino';
import type { ApiSettings, buildApp } from './app.ts';
import type { Connections } from './connect.ts';
import type { WarmUpRequests } from './warm-up-clients.ts';

/** Milliseconds for which requests are sent. */
const RUN_MS = 2_400;

/** A failure is a warning: the process serves cold. */
export async function warmUp(
  app: Awaited<ReturnType<typeof buildApp>>,
  settings: ServiceSettings & ApiSettings,
  connections: Connections,
  { log, tracing }: { log: Logger; tracing: Tracing | null },
): Promise<void> {
  if (settings.WARM_UP === 'off') return;
  const { redis, metrics, inventory } = connections;
  const token = randomBytes(16).toString('hex');
  async function rehearse(space: ScratchSpace): Promise<void> {
    const restore = [
      metrics.startRehearsal(),
      muteLines(log, space.name),
      connections.useSpace(space, token),
      tracing ? lend(tracing, { receive: () => null }) : () => {},
    ];
    try {
      for (const sale of Object.values(space.sales)) await inventory.create(sale);
      await app.ready();
      const { AUTH, ADMIN_TOKEN } = settings;
      const buyer = AUTH === 'jwt' ? `Authorization: Bearer ${token}` : 'X-User-ID: ';
      await send(app.server, { sales: space.sales, buyer, operator: `Authorization: Bearer ${ADMIN_TOKEN}` });
    } finally {
      await app.endRehearsal();
      for (const one of restore.reverse()) await one();
    }
  }
  await withScratchSpace({ redis, keyPrefix: settings.KEY_PREFIX }, rehearse).catch((error: Error) =>
    log.warn({ err: error.message }, 'the warm-up failed: the first orders take longer'),
  );
}

/**
 * Resolves when the last request is answered. The clients have a process of their own: V8 would
 * compile for their sockets too, and of a thread memory would remain.
 */
async function send(server: Server, requests: Omit<WarmUpRequests, 'port' | 'runMs'>): Promise<void> {
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  try {
    const clients = fork(new URL('./warm-up-clients.ts', import.meta.url), { stdio: 'inherit' });
    clients.send({ ...requests, port, runMs: RUN_MS } satisfies WarmUpRequests);
    const [code] = await once(clients, 'exit');
    if (code !== 0) throw new Error(`its clients ended with code ${code}`);
  } finally {
    await once(server.close(), 'close');
  }
}

/**
 * How a connection finds the master that sentinels name, and hears that another server became it. The library's own ear for that (failoverDetector)
 * is not used: it outlives its connection, and what it hears then ends the connection that is just being made anew, for good (docs/decisions/0026).
 */
import { isIP, type Socket } from 'node:net';
import { Redis, type RedisOptions, SentinelConnector } from 'ioredis';
import type { SentinelAddress } from './redis-address.ts';

/** ms until a sentinel that went is listened to again. */
const LISTEN_AGAIN_MS = 1_000;

/** @returns for RedisOptions.Connector; a duplicate of the connection has it, too */
export function connectorTo(address: SentinelAddress): NonNullable<RedisOptions['Connector']> {
  return class extends SentinelConnector {
    constructor(options: unknown) {
      super(options as ConstructorParameters<typeof SentinelConnector>[0]);
    }

    /** A master that hangs keeps its connections: each is listened for as long as it stands, and cut where another server took its place. */
    override async connect(...args: Parameters<SentinelConnector['connect']>): Promise<Socket> {
      const stream = (await super.connect(...args)) as Socket;
      const ears = address.sentinels.map((sentinel) =>
        listenTo(sentinel, address, (host, port) => {
          if (!leadsTo(stream, host, port)) stream.destroy();
        }),
      );
      const stopListening = (): void => {
        for (const ear of ears) ear.disconnect();
      };
      if (stream.destroyed) stopListening();
      else stream.once('close', stopListening);
      return stream;
    }
  };
}

/** A sentinel may tell of a master that it has named to us before. A name is not compared: the connection has the address behind it. */
function leadsTo({ remoteAddress, remotePort }: Socket, host: string, port: number): boolean {
  return remotePort === port && (isIP(host) === 0 || remoteAddress === host);
}

/** @param toldOf host and port of another master */
function listenTo(
  { host, port }: SentinelAddress['sentinels'][number],
  { master, sentinelLogin: { username, password }, tls }: SentinelAddress,
  toldOf: (host: string, port: number) => void,
): Redis {
  const ear = new Redis({
    host,
    port,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(tls ? { tls: {} } : {}),
    enableReadyCheck: false,
    maxRetriesPerRequest: null,
    retryStrategy: () => LISTEN_AGAIN_MS,
  });
  // That sentinels are away is said by whoever asks them for the master.
  ear.on('error', () => {});
  ear.on('message', (_, told: string) => {
    const [name, , , newHost = '', newPort] = told.split(' ');
    if (name === master) toldOf(newHost, Number(newPort));
  });
  ear.subscribe('+switch-master').catch(() => {});
  return ear;
}

/**
 * How a connection finds the master that sentinels name, and hears that another server became it. The library's own ear for that (failoverDetector)
 * is not used: it outlives its connection, and what it hears then ends the connection that is just being rebuilt, for good (docs/decisions.md).
 */
import type { Socket } from 'node:net';
import { Redis, type RedisOptions, SentinelConnector } from 'ioredis';
import type { SentinelAddress } from '../../config/redis-address.ts';
import { askForEpoch, askForMaster, isElsewhere, leadsTo, type NamedMaster } from './named-master.ts';

type Sentinel = SentinelAddress['sentinels'][number];
type Emit = Parameters<SentinelConnector['connect']>[0];

/** ms until a sentinel that went, or did not answer, is listened to again. */
const LISTEN_AGAIN_MS = 1_000;
/** ms that a sentinel may take to answer. */
const ANSWERS_WITHIN_MS = 5_000;

/** Events of a connection (a Redis of ioredis), with an Error: a sentinel can no longer be listened to, once until it can; it can again. */
export const SENTINEL_UNHEARD = 'sentinelUnheard';
export const SENTINEL_HEARD = 'sentinelHeard';

/**
 * @param tls whose signature the sentinels have; undefined: they speak no TLS
 * @returns for RedisOptions.Connector; a duplicate of the connection has it, too
 */
export function connectorTo(
  address: SentinelAddress,
  tls: RedisOptions['tls'],
): NonNullable<RedisOptions['Connector']> {
  return class extends SentinelConnector {
    constructor(options: unknown) {
      super(options as ConstructorParameters<typeof SentinelConnector>[0]);
    }

    /** A master that hangs keeps its connections: each is listened for as long as it stands, and cut where another server took its place. */
    override async connect(emit: Emit): Promise<Socket> {
      const stream = (await super.connect(emit)) as Socket;
      // Only now does it lead somewhere.
      stream.once('connect', () => {
        const ears = address.sentinels.map((sentinel) => listenTo(sentinel, address, tls, stream, emit));
        stream.once('close', () => {
          for (const ear of ears) ear.disconnect();
        });
      });
      return stream;
    }
  };
}

/**
 * 1. Subscribes to what the sentinel tells of failovers.
 * 2. Only then asks it for the master, each time that its connection was rebuilt: what it told before, nobody heard.
 * 3. Where it cannot do either, or cannot tell where a name leads, it begins again.
 */
function listenTo(sentinel: Sentinel, address: SentinelAddress, tls: RedisOptions['tls'], stream: Socket, emit: Emit) {
  const ear = openSentinel(sentinel, address, tls, () => LISTEN_AGAIN_MS);
  const place = `${sentinel.host}:${sentinel.port}`;
  let unheard = false;
  const beginAgain = (error: Error): void => {
    if (stream.destroyed) return;
    if (!unheard) emit(SENTINEL_UNHEARD, new Error(`${place}: ${error.message}`));
    unheard = true;
    if (ear.status === 'ready') ear.disconnect(true);
  };
  ear.on('error', beginAgain);
  ear.on('message', (_, told: string) => {
    const [name, , , host = '', port] = told.split(' ');
    if (name !== address.master) return;
    leadsTo(stream, { host, port: Number(port) }).then((leads) => {
      if (!leads) stream.destroy();
    }, beginAgain);
  });
  ear.on('ready', () => {
    ear
      .subscribe('+switch-master')
      .then(async () => {
        if (await tookItsPlace(sentinel, address, tls, stream)) stream.destroy();
        else if (unheard) emit(SENTINEL_HEARD, new Error(place));
        unheard = false;
      })
      .catch(beginAgain);
  });
  return ear;
}

/** Whether another server than the one at the stream's end is the master. One sentinel says so mostly; where it names another, all are asked. */
async function tookItsPlace(
  sentinel: Sentinel,
  address: SentinelAddress,
  tls: RedisOptions['tls'],
  stream: Socket,
): Promise<boolean> {
  const ask = <Answer>(one: Sentinel, question: (client: Redis) => Promise<Answer>): Promise<Answer> => {
    const client = openSentinel(one, address, tls, () => null);
    client.on('error', () => {});
    return question(client).finally(() => client.disconnect());
  };
  const leadsToNamed = (named: NamedMaster) => leadsTo(stream, named);
  if (await ask(sentinel, (client) => askForMaster(client, address.master)).then(leadsToNamed)) return false;
  const words = await Promise.allSettled(
    address.sentinels.map((one) =>
      ask(one, async (client) => {
        const [named, epoch] = await Promise.all([
          askForMaster(client, address.master),
          askForEpoch(client, address.master),
        ]);
        return { epoch, leads: await leadsToNamed(named) };
      }),
    ),
  );
  return isElsewhere(words.flatMap((word) => (word.status === 'fulfilled' ? [word.value] : [])));
}

function openSentinel(
  { host, port }: Sentinel,
  { sentinelLogin: { username, password } }: SentinelAddress,
  tls: RedisOptions['tls'],
  retryStrategy: () => number | null,
): Redis {
  return new Redis({
    host,
    port,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(tls === undefined ? {} : { tls }),
    enableReadyCheck: false,
    autoResubscribe: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: null,
    connectTimeout: ANSWERS_WITHIN_MS,
    commandTimeout: ANSWERS_WITHIN_MS,
    retryStrategy,
  });
}

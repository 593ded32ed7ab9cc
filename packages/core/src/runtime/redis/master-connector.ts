/**
 * How a connection finds the master that the sentinels name, and notices a failover. The
 * failoverDetector of ioredis 6.0.0 outlives its connection and can end the next one for good; a
 * fix is merged and not released. Once it is, run tests/system/sentinel-subscription.test.ts with
 * it, and delete this file if it passes.
 */
import type { Socket } from 'node:net';
import { Redis, type RedisOptions, SentinelConnector } from 'ioredis';
import type { SentinelAddress } from '../../config/redis-address.ts';
import { askForEpoch, askForMaster, isElsewhere, leadsTo, type NamedMaster } from './named-master.ts';

type Sentinel = SentinelAddress['sentinels'][number];
type Emit = Parameters<SentinelConnector['connect']>[0];

/** ms until the next attempt to subscribe to a sentinel. */
const SUBSCRIBE_AGAIN_MS = 1_000;
/** ms that a sentinel may take to answer. */
const ANSWER_MS = 5_000;

/**
 * Events of a connection, with an Error: a sentinel's subscription was lost, once until it is back.
 */
export const SENTINEL_UNSUBSCRIBED = 'sentinelUnsubscribed';
export const SENTINEL_SUBSCRIBED = 'sentinelSubscribed';

/**
 * @param tls options of the sentinels' TLS; undefined = no TLS
 * @returns for RedisOptions.Connector; duplicates of the connection have it too
 */
export function connectorTo(
  address: SentinelAddress,
  tls: RedisOptions['tls'],
): NonNullable<RedisOptions['Connector']> {
  return class extends SentinelConnector {
    constructor(options: unknown) {
      super(options as ConstructorParameters<typeof SentinelConnector>[0]);
    }

    /**
     * A master that hangs keeps its connections open: each is watched, and closed when another
     * server is the master.
     */
    override async connect(emit: Emit): Promise<Socket> {
      const stream = (await super.connect(emit)) as Socket;
      // Before that it has no remote address.
      stream.once('connect', () => {
        const listeners = address.sentinels.map((sentinel) => listenTo(sentinel, address, tls, stream, emit));
        stream.once('close', () => {
          for (const listener of listeners) listener.disconnect();
        });
      });
      return stream;
    }
  };
}

/**
 * 1. Subscribes to the sentinel's messages about failovers.
 * 2. Then asks it for the master, after every reconnect: earlier messages are lost.
 * 3. If either fails, or a name cannot be looked up, it starts over.
 */
function listenTo(sentinel: Sentinel, address: SentinelAddress, tls: RedisOptions['tls'], stream: Socket, emit: Emit) {
  const listener = openSentinel(sentinel, address, tls, () => SUBSCRIBE_AGAIN_MS);
  const place = `${sentinel.host}:${sentinel.port}`;
  let isLost = false;
  const startOver = (error: Error): void => {
    if (stream.destroyed) return;
    if (!isLost) emit(SENTINEL_UNSUBSCRIBED, new Error(`${place}: ${error.message}`));
    isLost = true;
    if (listener.status === 'ready') listener.disconnect(true);
  };
  listener.on('error', startOver);
  listener.on('message', (_, message: string) => {
    const [name, , , host = '', port] = message.split(' ');
    if (name !== address.master) return;
    leadsTo(stream, { host, port: Number(port) }).then((leads) => {
      if (!leads) stream.destroy();
    }, startOver);
  });
  listener.on('ready', () => {
    listener
      .subscribe('+switch-master')
      .then(async () => {
        if (await isReplaced(sentinel, address, tls, stream)) stream.destroy();
        else if (isLost) emit(SENTINEL_SUBSCRIBED, new Error(place));
        isLost = false;
      })
      .catch(startOver);
  });
  return listener;
}

/**
 * Whether the stream leads to a server that is no longer the master. If one sentinel says so, all
 * are asked.
 */
async function isReplaced(
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
  const answers = await Promise.allSettled(
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
  return isElsewhere(answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : [])));
}

function openSentinel(
  { host, port }: Sentinel,
  { sentinelLogin }: SentinelAddress,
  tls: RedisOptions['tls'],
  retryStrategy: () => number | null,
): Redis {
  return new Redis({
    host,
    port,
    ...sentinelLogin,
    ...(tls === undefined ? {} : { tls }),
    enableReadyCheck: false,
    autoResubscribe: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: null,
    connectTimeout: ANSWER_MS,
    commandTimeout: ANSWER_MS,
    retryStrategy,
  });
}

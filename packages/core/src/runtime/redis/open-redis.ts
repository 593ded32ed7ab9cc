/**
 * The one place that creates a Redis client: of a server, of the master that sentinels name, or of
 * a cluster. Options are those of a connection to one server (ioredis' RedisOptions); here they are
 * translated for a cluster and for sentinels.
 */
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { Cluster, Redis, type RedisOptions } from 'ioredis';
import { type ClusterAddress, readRedisAddress, type SentinelAddress } from '../../config/redis-address.ts';
import { connectorTo } from './master-connector.ts';

/** Every command is about one key, or may go to any master. */
export type AnyRedis = Redis | Cluster;

type Shared =
  | 'connectionName'
  | 'enableOfflineQueue'
  | 'autoResendUnfulfilledCommands'
  | 'autoResubscribe'
  | 'maxRetriesPerRequest'
  | 'commandTimeout'
  | 'connectTimeout'
  | 'socketTimeout';

export interface OpenOptions extends Pick<RedisOptions, Shared> {
  /** ms until the next attempt, numbered from 1; null = no further attempt. */
  readonly retryStrategy: (times: number) => number | null;
  /**
   * Cluster only: whether a lost node is reconnected, or left out until others name it again.
   * Default: true.
   */
  readonly reconnectNodes?: boolean;
}

/** ms for a cluster's answer about its slots, and for one sentinel's about its master. */
const SLOTS_MS = 5_000;
const MASTER_MS = 1_000;
/**
 * ms between two reads of the slots: a hanging master keeps its connections, so nothing else shows
 * that a replica took over.
 */
const SLOTS_EVERY_MS = 5_000;
/**
 * ms until a command that found its node gone, or the cluster down, is sent again, if it may be.
 */
const RESEND_MS = 100;
/** Of one command, while slots move. A node redirects a command before running it. */
const REDIRECTIONS_MAX = 8;

/** As ioredis says it. */
const NO_NODES = 'None of startup nodes is available';

/**
 * @returns a client that is not connected yet.
 * @throws if the address is invalid, or its ca_file cannot be read
 */
export function openRedis(url: string, { reconnectNodes = true, ...options }: OpenOptions): AnyRedis {
  const address = readRedisAddress(url);
  if (!address) throw new Error('REDIS_URL is not an address of Redis');
  if (address.kind === 'server')
    return inItsDatabase(new Redis(address.url, { ...options, ...trustOf(address.caFile), lazyConnect: true }));
  if (address.kind === 'cluster') return openCluster(address, options, reconnectNodes);
  return inItsDatabase(openMaster(address, options));
}

/**
 * ioredis reports a refused database as an error and goes on in database 0. Closes the connection
 * instead, before it is ready, and so for each that BullMQ makes from it. ioredis itself closes it
 * if the login is refused.
 */
function inItsDatabase(redis: Redis): Redis {
  redis.on('error', ({ command }: Error & { command?: { name: string } }) => {
    if (command?.name === 'select') redis.disconnect(true);
  });
  const duplicate = redis.duplicate.bind(redis) as (override?: Partial<RedisOptions>) => Redis;
  return Object.assign(redis, { duplicate: (override?: Partial<RedisOptions>) => inItsDatabase(duplicate(override)) });
}

/** One connection to the present master; reconnects when another server becomes the master. */
function openMaster(address: SentinelAddress, options: Omit<OpenOptions, 'reconnectNodes'>): Redis {
  const { sentinels, sentinelLogin, master, database, tls } = address;
  const { tls: trust = {} } = trustOf(address.caFile);
  return new Redis({
    ...options,
    lazyConnect: true,
    sentinels: sentinels.map((sentinel) => ({ ...sentinel })),
    name: master,
    db: database,
    role: 'master',
    ...address.login,
    ...(sentinelLogin.username === undefined ? {} : { sentinelUsername: sentinelLogin.username }),
    ...(sentinelLogin.password === undefined ? {} : { sentinelPassword: sentinelLogin.password }),
    ...(tls ? { tls: trust, sentinelTLS: trust, enableTLSForSentinelMode: true } : {}),
    sentinelRetryStrategy: options.retryStrategy,
    // A sentinel that hangs must not delay the next one.
    sentinelCommandTimeout: Math.min(options.connectTimeout ?? MASTER_MS, MASTER_MS),
    Connector: connectorTo(address, tls ? trust : undefined),
    // The server was demoted. The command fails without having run, and the sentinels are asked
    // again.
    reconnectOnError: ({ message }) => message.startsWith('READONLY'),
  });
}

function openCluster(
  address: ClusterAddress,
  options: Omit<OpenOptions, 'reconnectNodes'>,
  reconnectNodes: boolean,
): Cluster {
  const { retryStrategy, enableOfflineQueue = true, ...ofNode } = options;
  const resend = options.autoResendUnfulfilledCommands !== false;
  return new Cluster(
    address.nodes.map((node) => ({ ...node })),
    {
      lazyConnect: true,
      scaleReads: 'master',
      enableOfflineQueue,
      clusterRetryStrategy: retryStrategy,
      ...(reconnectNodes ? { clusterNodeRetryStrategy: retryStrategy } : {}),
      slotsRefreshTimeout: options.connectTimeout ?? SLOTS_MS,
      slotsRefreshInterval: SLOTS_EVERY_MS,
      // Connections that wait for Redis also wait for a cluster that is down. The others send a
      // command again only if a node refused it before it ran (MOVED, ASK, TRYAGAIN).
      maxRedirections: resend ? Number.POSITIVE_INFINITY : REDIRECTIONS_MAX,
      retryDelayOnFailover: resend ? RESEND_MS : 0,
      // Endless redirections need a pause: two nodes may name each other for a while.
      retryDelayOnMoved: resend ? RESEND_MS : 0,
      retryDelayOnClusterDown: resend ? RESEND_MS : 0,
      // Host names stay names, so that TLS can compare them with the certificate.
      dnsLookup: (host, found) => found(null, host),
      redisOptions: { ...ofNode, ...address.login, ...(address.tls ? { tls: {}, ...trustOf(address.caFile) } : {}) },
    },
  );
}

/** @returns the CA to trust; {} = those that Node knows */
function trustOf(caFile: string | undefined): Pick<RedisOptions, 'tls'> {
  if (caFile === undefined) return {};
  try {
    return { tls: { ca: readFileSync(caFile) } };
  } catch (error) {
    throw new Error(
      `The ca_file of REDIS_URL cannot be read (${(error as Error).message}). ` +
        "Name a file with the CA's certificate in PEM.",
    );
  }
}

/**
 * Connects, in a cluster to every master: without an offline queue the first commands to a node
 * would fail otherwise.
 *
 * @throws if nothing answers, or the cluster is down
 */
export async function connectRedis(redis: AnyRedis): Promise<void> {
  if (!(redis instanceof Cluster)) return redis.connect();
  await untilClosed(redis, redis.connect());
  await Promise.all(
    redis.nodes('master').map(async (node) => {
      if (node.status === 'end') throw new Error(NO_NODES);
      if (node.status === 'wait') void node.connect().catch(() => {});
      if (node.status !== 'ready') await untilClosed(node, new Promise<void>((ready) => node.once('ready', ready)));
    }),
  );
}

/** ioredis closes a cluster that is down and retries, without rejecting connect(). */
async function untilClosed(redis: AnyRedis, done: Promise<void>): Promise<void> {
  let closed = (): void => {};
  const failed = new Promise<never>((_, reject) => {
    closed = () => reject(new Error(NO_NODES));
  });
  redis.once('close', closed);
  await Promise.race([done, failed]).finally(() => redis.off('close', closed));
}

/** The server, or every master of the cluster. */
export function mastersOf(redis: AnyRedis): Redis[] {
  return redis instanceof Cluster ? redis.nodes('master') : [redis];
}

/** Where a server is; if sentinels named it, where the connection leads. */
export function endpointOf({ options, stream }: Redis): { host: string; port: number } {
  if (!options.sentinels) return { host: options.host ?? '', port: options.port ?? 0 };
  const { remoteAddress = '', remotePort = 0 } = stream as Socket;
  return { host: remoteAddress, port: remotePort };
}

/**
 * The one place where a client of Redis is made: of a server, of the master that sentinels name, or of a cluster. Its manners are those of a
 * connection to one server (ioredis' RedisOptions); here they are translated for a cluster, where some belong to the whole and some to each
 * node, and for sentinels, which are asked before each connection.
 */
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { Cluster, Redis, type RedisOptions } from 'ioredis';
import { type ClusterAddress, readRedisAddress, type SentinelAddress } from '../../config/redis-address.ts';
import { connectorTo } from './master-connector.ts';

/** What both are: every command is one key's, or is sent to any master. */
export type AnyRedis = Redis | Cluster;

type Shared =
  | 'connectionName'
  | 'enableOfflineQueue'
  | 'autoResendUnfulfilledCommands'
  | 'maxRetriesPerRequest'
  | 'commandTimeout'
  | 'connectTimeout'
  | 'socketTimeout';

export interface Manners extends Pick<RedisOptions, Shared> {
  /** ms until the next try, counted from 1; null: it is not tried again. */
  readonly retryStrategy: (times: number) => number | null;
  /**
   * Cluster only: whether the connection to a node that went is rebuilt by itself. Where it is not, the node is left out until the others
   * name it again. Default: as with one server.
   */
  readonly nodesComeBack?: boolean;
}

/** ms that a cluster may take to say who has which slots, and one sentinel to say who is the master. */
const SLOTS_WITHIN_MS = 5_000;
const MASTER_WITHIN_MS = 1_000;
/**
 * ms between two looks at who has which slots, where nothing else tells: a master that hangs keeps its connections, and the one that took over
 * is found by asking only. A connection that breaks is asked about at once.
 */
const SLOTS_LOOK_EVERY_MS = 5_000;
/** ms after which a command that found its node gone, or the cluster down, is sent again, by whom it may be. */
const RESEND_MS = 100;
/** Of one command: a slot that is on its way, then at its new place. Each refused it before it ran. */
const REDIRECTIONS_MAX = 8;

/** In the words of the client library. */
const NOBODY = 'None of startup nodes is available';

/** Not connected yet. @throws where the address cannot be read */
export function openRedis(url: string, manners: Manners): AnyRedis {
  const { nodesComeBack = true, ...options } = manners;
  const address = readRedisAddress(url);
  if (!address) throw new Error('REDIS_URL is no address of Redis');
  if (address.kind === 'server')
    return new Redis(address.url, { ...options, ...trustOf(address.caFile), lazyConnect: true });
  return address.kind === 'cluster' ? openCluster(address, options, nodesComeBack) : openMaster(address, options);
}

/** One connection, to whichever server is the master; rebuilt where another one becomes it. */
function openMaster(address: SentinelAddress, options: Omit<Manners, 'nodesComeBack'>): Redis {
  const { sentinels, sentinelLogin, master, database, tls } = address;
  const { tls: trust = {} } = trustOf(address.caFile);
  return new Redis({
    ...options,
    lazyConnect: true,
    sentinels: sentinels.map((sentinel) => ({ ...sentinel })),
    name: master,
    db: database,
    role: 'master',
    ...loginOf(address),
    ...(sentinelLogin.username === undefined ? {} : { sentinelUsername: sentinelLogin.username }),
    ...(sentinelLogin.password === undefined ? {} : { sentinelPassword: sentinelLogin.password }),
    ...(tls ? { tls: trust, sentinelTLS: trust, enableTLSForSentinelMode: true } : {}),
    sentinelRetryStrategy: options.retryStrategy,
    // One that hangs must not keep us from asking the next one.
    sentinelCommandTimeout: Math.min(options.connectTimeout ?? MASTER_WITHIN_MS, MASTER_WITHIN_MS),
    Connector: connectorTo(address, tls ? trust : undefined),
    // It was demoted, and has refused the command before it ran. Who sent it is told so, and the sentinels are asked anew.
    reconnectOnError: ({ message }) => message.startsWith('READONLY'),
  });
}

function openCluster(
  address: ClusterAddress,
  options: Omit<Manners, 'nodesComeBack'>,
  nodesComeBack: boolean,
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
      ...(nodesComeBack ? { clusterNodeRetryStrategy: retryStrategy } : {}),
      slotsRefreshTimeout: options.connectTimeout ?? SLOTS_WITHIN_MS,
      slotsRefreshInterval: SLOTS_LOOK_EVERY_MS,
      // Whoever waits for Redis waits for a cluster that is down, too. Who must not have a command sent twice has it sent again only where
      // a node refused it before it ran (MOVED, ASK, TRYAGAIN).
      maxRedirections: resend ? Number.POSITIVE_INFINITY : REDIRECTIONS_MAX,
      retryDelayOnFailover: resend ? RESEND_MS : 0,
      // Without an end there must be a pause: two nodes may name each other for a while.
      retryDelayOnMoved: resend ? RESEND_MS : 0,
      retryDelayOnClusterDown: resend ? RESEND_MS : 0,
      // A name stays a name, so that TLS can hold it against the certificate.
      dnsLookup: (host, found) => found(null, host),
      redisOptions: { ...ofNode, ...loginOf(address), ...(address.tls ? { tls: {}, ...trustOf(address.caFile) } : {}) },
    },
  );
}

/** Whose signature is believed; {}: those that Node knows. */
function trustOf(caFile: string | undefined): Pick<RedisOptions, 'tls'> {
  if (caFile === undefined) return {};
  try {
    return { tls: { ca: readFileSync(caFile) } };
  } catch (error) {
    throw new Error(
      `The ca_file of REDIS_URL cannot be read (${(error as Error).message}). Name a file with the certificate of the CA, in PEM.`,
    );
  }
}

function loginOf({
  username,
  password,
}: SentinelAddress | ClusterAddress): Pick<RedisOptions, 'username' | 'password'> {
  return { ...(username === undefined ? {} : { username }), ...(password === undefined ? {} : { password }) };
}

/**
 * Connects, with every master of a cluster: without an offline queue the first commands to a node would be refused while its connection
 * is being made.
 *
 * @throws where nobody answers, or the cluster says that it is down
 */
export async function connectRedis(redis: AnyRedis): Promise<void> {
  if (!(redis instanceof Cluster)) return redis.connect();
  await untilClosed(redis, redis.connect());
  await Promise.all(
    redis.nodes('master').map(async (node) => {
      if (node.status === 'end') throw new Error(NOBODY);
      if (node.status === 'wait') void node.connect().catch(() => {});
      if (node.status !== 'ready') await untilClosed(node, new Promise<void>((ready) => node.once('ready', ready)));
    }),
  );
}

/** A cluster that is down is closed and tried again without a word to whoever called connect(). */
async function untilClosed(redis: AnyRedis, done: Promise<void>): Promise<void> {
  let closed = (): void => {};
  const failed = new Promise<never>((_, reject) => {
    closed = () => reject(new Error(NOBODY));
  });
  redis.once('close', closed);
  await Promise.race([done, failed]).finally(() => redis.off('close', closed));
}

/** The server, or every master of the cluster: what is asked of Redis as a whole is asked of each. */
export function mastersOf(redis: AnyRedis): Redis[] {
  return redis instanceof Cluster ? redis.nodes('master') : [redis];
}

/** Where a server is: of one that sentinels named, where the connection has found it. */
export function endpointOf({ options, stream }: Redis): { host: string; port: number } {
  if (!options.sentinels) return { host: options.host ?? '', port: options.port ?? 0 };
  const { remoteAddress = '', remotePort = 0 } = stream as Socket;
  return { host: remoteAddress, port: remotePort };
}

/** Parses REDIS_URL: a server, some nodes of a cluster, or the sentinels that name the master. */

interface Endpoint {
  readonly host: string;
  readonly port: number;
}

interface Login {
  /** Undefined if the address has none. */
  readonly username: string | undefined;
  readonly password: string | undefined;
}

export interface ClusterAddress extends Login {
  readonly kind: 'cluster';
  /** The login is for every node. */
  readonly nodes: readonly Endpoint[];
  readonly tls: boolean;
  readonly caFile?: string;
}

export interface SentinelAddress extends Login {
  readonly kind: 'sentinel';
  /** The login is for every server, not for the sentinels. */
  readonly sentinels: readonly Endpoint[];
  readonly sentinelLogin: Login;
  /** The master's name in the sentinels' configuration. */
  readonly master: string;
  readonly database: number;
  /** For the servers and the sentinels. */
  readonly tls: boolean;
  readonly caFile?: string;
}

interface ServerAddress {
  readonly kind: 'server';
  /** As ioredis parses it. */
  readonly url: string;
  /** PEM file with the CA of the server's certificate, if Node does not trust it anyway. */
  readonly caFile?: string;
}

export type RedisAddress = ServerAddress | ClusterAddress | SentinelAddress;

const REDIS_PORT = 6_379;
const SENTINEL_PORT = 26_379;

/**
 * - `redis://…` and `rediss://…` are one server, as ioredis parses them.
 * - `redis+cluster://user:password@host1:port1,host2:port2` and `rediss+cluster://…` are a cluster;
 *   one reachable node is enough to find the others.
 * - `redis+sentinel://user:password@host1:port1,host2:port2/master-name/database` and
 *   `rediss+sentinel://…` are the server that these sentinels name as the master. The sentinels'
 *   own login is `?sentinel_username=…&sentinel_password=…`.
 *
 * With TLS, `?ca_file=/path/ca.pem` names the CA of the certificates.
 *
 * @returns null if the address is invalid: several hosts without `+cluster` or `+sentinel`, an
 * invalid host or port, a database other than 0 in a cluster, sentinels without the name of a
 * master, a ca_file without TLS
 */
export function readRedisAddress(url: string): RedisAddress | null {
  const parts = /^redis(s?)(?:\+(cluster|sentinel))?:\/\/([^/?#]+)(.*)$/s.exec(url);
  if (!parts) return null;
  const [, secure, kind, authority = '', tail = ''] = parts;
  const { rest, caFile } = cutCaFile(tail);
  if (caFile === '' || (caFile !== undefined && secure !== 's')) return null;
  const ofCa = caFile === undefined ? {} : { caFile };
  const at = authority.lastIndexOf('@');
  const hosts = authority.slice(at + 1);
  if (!kind) {
    if (hosts.includes(',')) return null;
    return { kind: 'server', url: url.slice(0, url.length - tail.length) + rest, ...ofCa };
  }
  const login = at < 0 ? NO_LOGIN : readLogin(authority.slice(0, at));
  const found = hosts.split(',').map((host) => readEndpoint(host, kind === 'cluster' ? REDIS_PORT : SENTINEL_PORT));
  const endpoints = found.filter((endpoint) => endpoint !== null);
  if (login === null || endpoints.length < found.length) return null;
  const tls = secure === 's';
  if (kind === 'cluster') return /^(\/0?)?$/.test(rest) ? { kind, nodes: endpoints, ...login, tls, ...ofCa } : null;
  const behind = readBehindSentinels(rest);
  return behind && { kind: 'sentinel', sentinels: endpoints, ...login, ...behind, tls, ...ofCa };
}

/** @returns path and query without ca_file, and the decoded ca_file if there is one */
function cutCaFile(tail: string): { rest: string; caFile?: string } {
  const at = tail.indexOf('?');
  const query = new URLSearchParams(at < 0 ? '' : tail.slice(at + 1));
  const caFile = query.get('ca_file');
  if (caFile === null) return { rest: tail };
  query.delete('ca_file');
  return { rest: `${tail.slice(0, at)}${query.size === 0 ? '' : `?${query}`}`, caFile };
}

const NO_LOGIN: Login = { username: undefined, password: undefined };

function readEndpoint(text: string, defaultPort: number): Endpoint | null {
  const found = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::(\d{1,5}))?$/i.exec(text);
  const port = Number(found?.[3] ?? defaultPort);
  return found && port >= 1 && port <= 65_535 ? { host: (found[1] ?? found[2]) as string, port } : null;
}

/** @returns null if the percent-encoding is invalid */
function readLogin(text: string): Login | null {
  const colon = text.indexOf(':');
  try {
    const username = decodeURIComponent(colon < 0 ? text : text.slice(0, colon));
    const password = colon < 0 ? undefined : decodeURIComponent(text.slice(colon + 1));
    return { username: username || undefined, password: password || undefined };
  } catch {
    return null;
  }
}

/** @param rest what follows the sentinels: "/mymaster/0?sentinel_password=…" */
function readBehindSentinels(rest: string): Pick<SentinelAddress, 'master' | 'database' | 'sentinelLogin'> | null {
  const parts = /^\/([A-Za-z0-9._-]+)(?:\/(\d{1,3})?)?(?:\?([^#]*))?$/.exec(rest);
  if (!parts) return null;
  const given = new URLSearchParams(parts[3] ?? '');
  if ([...given.keys()].some((name) => !/^sentinel_(username|password)$/.test(name))) return null;
  return {
    master: parts[1] as string,
    database: Number(parts[2] ?? 0),
    sentinelLogin: {
      username: given.get('sentinel_username') || undefined,
      password: given.get('sentinel_password') || undefined,
    },
  };
}

/** @returns the address without its passwords, to be shown */
export function withoutPassword(url: string): string {
  const address = readRedisAddress(url);
  if (address && address.kind !== 'server') {
    const behind = address.kind === 'sentinel' ? `/${address.master}/${address.database}` : '';
    return `redis${address.tls ? 's' : ''}+${address.kind}://${hostsOf(url)}${behind}`;
  }
  try {
    const parsed = new URL(url);
    if (parsed.password) parsed.password = '***';
    // ioredis also accepts a password there.
    parsed.search = '';
    return parsed.href;
  } catch {
    return 'the given address';
  }
}

/**
 * @returns hosts and ports, separated by commas; of the sentinels, if it names those.
 * @throws if it is invalid
 */
export function hostsOf(url: string): string {
  const address = readRedisAddress(url);
  if (!address || address.kind === 'server') return new URL(url).host;
  const endpoints = address.kind === 'cluster' ? address.nodes : address.sentinels;
  return endpoints.map(({ host, port }) => `${host.includes(':') ? `[${host}]` : host}:${port}`).join(',');
}

/** @returns the passwords in the address; none if it is invalid */
export function passwordsOf(url: string): string[] {
  const address = readRedisAddress(url);
  const passwords =
    address?.kind === 'sentinel'
      ? [address.password, address.sentinelLogin.password]
      : address?.kind === 'cluster'
        ? [address.password]
        : [passwordOfUrl(url)];
  return passwords.filter((password) => password !== undefined);
}

function passwordOfUrl(url: string): string | undefined {
  try {
    return decodeURIComponent(new URL(url).password) || undefined;
  } catch {
    return undefined;
  }
}

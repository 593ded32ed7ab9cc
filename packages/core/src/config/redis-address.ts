/** REDIS_URL, read: one server, the nodes of a cluster by which the others are found, or the sentinels that know which server is the master. */

interface Endpoint {
  readonly host: string;
  readonly port: number;
}

interface Login {
  /** Undefined where the address names none. */
  readonly username: string | undefined;
  readonly password: string | undefined;
}

export interface ClusterAddress extends Login {
  readonly kind: 'cluster';
  /** The login is that of every node. */
  readonly nodes: readonly Endpoint[];
  readonly tls: boolean;
  readonly caFile?: string;
}

export interface SentinelAddress extends Login {
  readonly kind: 'sentinel';
  /** The login is that of every server, not of the sentinels. */
  readonly sentinels: readonly Endpoint[];
  readonly sentinelLogin: Login;
  /** As the sentinels call it. */
  readonly master: string;
  readonly database: number;
  /** Of the servers and of the sentinels alike. */
  readonly tls: boolean;
  readonly caFile?: string;
}

export interface ServerAddress {
  readonly kind: 'server';
  /** As the client library takes it. */
  readonly url: string;
  /** File with the certificate of who signed the server's, where Node does not know him. */
  readonly caFile?: string;
}

export type RedisAddress = ServerAddress | ClusterAddress | SentinelAddress;

const REDIS_PORT = 6_379;
const SENTINEL_PORT = 26_379;

/**
 * - `redis://…` and `rediss://…` are one server, as the client library reads them.
 * - `redis+cluster://user:password@host1:port1,host2:port2` and `rediss+cluster://…` are a cluster: one node that answers is enough, and the
 *   others are asked of it.
 * - `redis+sentinel://user:password@host1:port1,host2:port2/master-name/database` and `rediss+sentinel://…` are the server that these
 *   sentinels call the master. A login of the sentinels themselves is `?sentinel_username=…&sentinel_password=…`.
 *
 * `ca_file=/path/ca.pem` in the query of one with TLS names who signed its certificates.
 *
 * @returns null where it is none of them: several hosts without `+cluster` or `+sentinel`, a host or port that cannot be one, a database
 * other than 0 in a cluster, sentinels without the name of a master,
 * a ca_file without TLS
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

/** @returns what else stands behind the hosts, and the decoded ca_file where there is one */
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

/** @returns null where it is not percent-encoded rightly */
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

/** An address fit to be shown: hosts, ports and database, without the secret. */
export function withoutPassword(url: string): string {
  const address = readRedisAddress(url);
  if (address && address.kind !== 'server') {
    const behind = address.kind === 'sentinel' ? `/${address.master}/${address.database}` : '';
    return `redis${address.tls ? 's' : ''}+${address.kind}://${hostsOf(url)}${behind}`;
  }
  try {
    const parsed = new URL(url);
    if (parsed.password) parsed.password = '***';
    // The client library takes a password there, too.
    parsed.search = '';
    return parsed.href;
  } catch {
    return 'the given address';
  }
}

/** Hosts and ports of any address, with commas; of the sentinels where it names those. @throws where it is none */
export function hostsOf(url: string): string {
  const address = readRedisAddress(url);
  if (!address || address.kind === 'server') return new URL(url).host;
  const endpoints = address.kind === 'cluster' ? address.nodes : address.sentinels;
  return endpoints.map(({ host, port }) => `${host.includes(':') ? `[${host}]` : host}:${port}`).join(',');
}

/** Passwords that are part of the address. @returns none where it cannot be read */
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

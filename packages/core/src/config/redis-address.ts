/** Parses REDIS_URL: a server, some nodes of a cluster, or the sentinels that name the master. */
import querystring from 'node:querystring';

interface Endpoint {
  readonly host: string;
  readonly port: number;
}

interface Login {
  readonly username?: string;
  readonly password?: string;
}

export interface ClusterAddress {
  readonly kind: 'cluster';
  readonly nodes: readonly Endpoint[];
  /** For every node. */
  readonly login: Login;
  readonly tls: boolean;
  readonly caFile?: string;
}

export interface SentinelAddress {
  readonly kind: 'sentinel';
  readonly sentinels: readonly Endpoint[];
  readonly sentinelLogin: Login;
  /** For every server, not for the sentinels. */
  readonly login: Login;
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

/** None, or a number: ioredis would make 0 of anything else, or a database that no Redis has. */
const DATABASE = /^(\/\d{0,5})?$/;

/** TLS, kind, login, hosts, path, query. */
const FORM = /^redis(s?)(?:\+(cluster|sentinel))?:\/\/(?:([^/?#]*)@)?([^/?#@]+)([^?#]*)(?:\?([^#]*))?$/s;

/**
 * - `redis://user:password@host:port/database` and `rediss://…` are one server. `?family=6` is
 *   passed to ioredis, which would also take any other option from there.
 * - `redis+cluster://user:password@host1:port1,host2:port2` and `rediss+cluster://…` are a cluster;
 *   one reachable node is enough to find the others.
 * - `redis+sentinel://user:password@host1:port1,host2:port2/master-name/database` and
 *   `rediss+sentinel://…` are the server that these sentinels name as the master. The sentinels'
 *   own login is `?sentinel_username=…&sentinel_password=…`.
 *
 * With TLS, `?ca_file=/path/ca.pem` names the CA of the certificates.
 *
 * @returns null if the address is invalid: several hosts without `+cluster` or `+sentinel`, an
 * invalid host or port, a database that is no number, or other than 0 in a cluster, sentinels
 * without the name of a master, a ca_file without TLS, another option
 */
export function readRedisAddress(url: string): RedisAddress | null {
  const parts = FORM.exec(url);
  if (!parts) return null;
  const [, secure, kind, login = '', hosts = '', path = '', query = ''] = parts;
  const tls = secure === 's';
  const options = new URLSearchParams(query);
  const caFile = options.get('ca_file');
  options.delete('ca_file');
  if (caFile === '' || (caFile !== null && !tls)) return null;
  const ofCa = caFile === null ? {} : { caFile };
  if (!kind) {
    const isValid = HOST.test(hosts) && URL.canParse(url) && DATABASE.test(path);
    if (!isValid || [...options.keys()].some((name) => name !== 'family')) return null;
    const withoutCa = `${url.slice(0, url.indexOf('?'))}${options.size === 0 ? '' : `?${options}`}`;
    return { kind: 'server', url: caFile === null ? url : withoutCa, ...ofCa };
  }
  const servers = readServers(login, hosts, kind === 'cluster' ? REDIS_PORT : SENTINEL_PORT);
  if (servers === null) return null;
  const common = { login: servers.login, tls, ...ofCa };
  if (kind === 'cluster')
    return /^(\/0?)?$/.test(path) && options.size === 0 ? { kind, nodes: servers.endpoints, ...common } : null;
  const [, master, database = 0] = /^\/([A-Za-z0-9._-]+)(?:\/(\d{1,3})?)?$/.exec(path) ?? [];
  const sentinelLogin = loginOf(options.get('sentinel_username'), options.get('sentinel_password'));
  options.delete('sentinel_username');
  options.delete('sentinel_password');
  if (master === undefined || options.size > 0) return null;
  const sentinels = servers.endpoints;
  return { kind: 'sentinel', sentinels, sentinelLogin, master, database: Number(database), ...common };
}

/** The URL's own parser also takes `h!x`, `h:` and `h:0`; it checks IPv6 and ports above 65535. */
const HOST = /^(\[[\da-f:.]+\]|[\w.-]+)(:[1-9]\d*)?$/i;

/** @returns null if a host, a port or the percent-encoding is invalid */
function readServers(login: string, hosts: string, defaultPort: number) {
  const places = hosts.split(',');
  if (!places.every((place) => HOST.test(place))) return null;
  try {
    const urls = places.map((place) => new URL(`redis://${login}@${place}`));
    const { username = '', password = '' } = urls[0] ?? {};
    const endpoints = urls.map(({ hostname, port }) => ({
      host: hostname.replace(/^\[(.+)\]$/, '$1'),
      port: port === '' ? defaultPort : Number(port),
    }));
    return { endpoints, login: loginOf(decodeURIComponent(username), decodeURIComponent(password)) };
  } catch {
    return null;
  }
}

function loginOf(username: string | null, password: string | null): Login {
  return { ...(username && { username }), ...(password && { password }) };
}

/** @returns the address without its passwords, to be shown */
export function withoutPassword(url: string): string {
  const address = readRedisAddress(url);
  if (address && address.kind !== 'server') {
    const behind = address.kind === 'sentinel' ? `/${address.master}/${address.database}` : '';
    return `redis${address.tls ? 's' : ''}+${address.kind}://${hostsOf(url)}${behind}`;
  }
  if (!URL.canParse(url)) return 'the given address';
  const parsed = new URL(url);
  if (parsed.password) parsed.password = '***';
  // ioredis also accepts a password there.
  parsed.search = '';
  return parsed.href;
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

/** @returns the passwords in the address of Redis or PostgreSQL; none if it is invalid */
export function passwordsOf(url: string): string[] {
  const address = readRedisAddress(url);
  if (address === null || address.kind === 'server') {
    const password = URL.canParse(url) ? querystring.unescape(new URL(url).password) : '';
    return password === '' ? [] : [password];
  }
  const ofSentinels = address.kind === 'sentinel' ? address.sentinelLogin.password : undefined;
  return [address.login.password, ofSentinels].filter((password) => password !== undefined);
}

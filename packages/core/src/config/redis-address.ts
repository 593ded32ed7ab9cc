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

const WRONG_HOST = 'a host, a port or the percent-encoding is invalid';
const WRONG_LOGIN = 'a host is missing, or / ? # @ in user or password are not percent-encoded';
const WRONG_OPTION = 'it has an unknown option behind "?"';

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
 * @returns null if the address is invalid; redisAddressFault() says why
 */
export function readRedisAddress(url: string): RedisAddress | null {
  const address = parse(url);
  return typeof address === 'string' ? null : address;
}

/** @returns what is wrong with the address, without any part of a password; null if it is valid */
export function redisAddressFault(url: string): string | null {
  const address = parse(url);
  return typeof address === 'string' ? address : null;
}

function parse(url: string): RedisAddress | string {
  if (!/^rediss?(\+(cluster|sentinel))?:\/\//.test(url)) return 'it does not begin with redis:// or rediss://';
  const parts = FORM.exec(url);
  if (!parts || parts[5]?.includes('@')) return WRONG_LOGIN;
  const [, secure, kind, login = '', hosts = '', path = '', query = ''] = parts;
  const tls = secure === 's';
  const options = new URLSearchParams(query);
  const caFile = options.get('ca_file');
  options.delete('ca_file');
  if (caFile === '' || (caFile !== null && !tls)) return 'ca_file needs a path, and rediss://';
  const ofCa = caFile === null ? {} : { caFile };
  if (!kind) {
    if (hosts.includes(',')) return 'several hosts need redis+cluster:// or redis+sentinel://';
    if (!HOST.test(hosts) || !URL.canParse(url)) return WRONG_HOST;
    // With a "/" in the login, the path is part of a password.
    if (!DATABASE.test(path) && query.includes('@')) return WRONG_LOGIN;
    if (!DATABASE.test(path)) return `the database number ${path.slice(1)} is not a whole number of at most 5 digits`;
    if ([...options.keys()].some((name) => name !== 'family')) return WRONG_OPTION;
    const withoutCa = `${url.slice(0, url.indexOf('?'))}${options.size === 0 ? '' : `?${options}`}`;
    return { kind: 'server', url: caFile === null ? url : withoutCa, ...ofCa };
  }
  const servers = readServers(login, hosts, kind === 'cluster' ? REDIS_PORT : SENTINEL_PORT);
  if (servers === null) return WRONG_HOST;
  const common = { login: servers.login, tls, ...ofCa };
  if (kind === 'cluster') {
    if (options.size > 0) return WRONG_OPTION;
    return /^(\/0?)?$/.test(path) ? { kind, nodes: servers.endpoints, ...common } : 'a cluster has database 0 only';
  }
  const [, master, database = 0] = /^\/([A-Za-z0-9._-]+)(?:\/(\d{1,3})?)?$/.exec(path) ?? [];
  const sentinelLogin = loginOf(options.get('sentinel_username'), options.get('sentinel_password'));
  options.delete('sentinel_username');
  options.delete('sentinel_password');
  if (master === undefined) return "behind the sentinels, it needs the master's name: /name or /name/database";
  if (options.size > 0) return WRONG_OPTION;
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

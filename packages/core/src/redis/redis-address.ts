/** REDIS_URL, read: one server, or the nodes of a cluster by which the others are found. A further kind (Sentinel) would have its place here. */

export interface ClusterAddress {
  readonly kind: 'cluster';
  readonly nodes: readonly { readonly host: string; readonly port: number }[];
  /** Of every node; undefined where the address names none. */
  readonly username: string | undefined;
  readonly password: string | undefined;
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

export type RedisAddress = ServerAddress | ClusterAddress;

const REDIS_PORT = 6_379;

/**
 * `redis://…` and `rediss://…` are one server, as the client library reads them. `redis+cluster://user:password@host1:port1,host2:port2` and
 * `rediss+cluster://…` are a cluster: one node that answers is enough, and the others are asked of it. `?ca_file=/path/ca.pem` behind one
 * with TLS names who signed its certificates.
 *
 * @returns null where it is neither: several hosts without `+cluster`, a host or port that cannot be one, a database other than 0 in a
 * cluster, a ca_file without TLS
 */
export function readRedisAddress(url: string): RedisAddress | null {
  const parts = /^redis(s?)(\+cluster)?:\/\/([^/?#]+)(.*)$/s.exec(url);
  if (!parts) return null;
  const [, secure, cluster, authority = '', tail = ''] = parts;
  const { rest, caFile } = cutCaFile(tail);
  if (caFile === '' || (caFile !== undefined && secure !== 's')) return null;
  const ofCa = caFile === undefined ? {} : { caFile };
  const at = authority.lastIndexOf('@');
  const hosts = authority.slice(at + 1);
  if (!cluster) {
    if (hosts.includes(',')) return null;
    return { kind: 'server', url: url.slice(0, url.length - tail.length) + rest, ...ofCa };
  }
  if (!/^(\/0?)?$/.test(rest)) return null;
  const nodes = hosts.split(',').map(readNode);
  const login = at < 0 ? [] : readLogin(authority.slice(0, at));
  if (login === null || nodes.some((node) => node === null)) return null;
  return {
    kind: 'cluster',
    nodes: nodes.filter((node) => node !== null),
    username: login[0],
    password: login[1],
    tls: secure === 's',
    ...ofCa,
  };
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

function readNode(text: string): { host: string; port: number } | null {
  const found = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::(\d{1,5}))?$/i.exec(text);
  const port = Number(found?.[3] ?? REDIS_PORT);
  return found && port >= 1 && port <= 65_535 ? { host: (found[1] ?? found[2]) as string, port } : null;
}

/** @returns user and password, undefined where they are left out; null where they are not percent-encoded rightly */
function readLogin(text: string): [string | undefined, string | undefined] | null {
  const colon = text.indexOf(':');
  try {
    const user = decodeURIComponent(colon < 0 ? text : text.slice(0, colon));
    const password = colon < 0 ? undefined : decodeURIComponent(text.slice(colon + 1));
    return [user || undefined, password || undefined];
  } catch {
    return null;
  }
}

/** An address fit to be shown: hosts, ports and database, without the secret. */
export function withoutPassword(url: string): string {
  const address = readRedisAddress(url);
  if (address?.kind === 'cluster') return `redis${address.tls ? 's' : ''}+cluster://${hostsOf(url)}`;
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

/** Hosts and ports of any address, with commas. @throws where it is none */
export function hostsOf(url: string): string {
  const address = readRedisAddress(url);
  if (address?.kind !== 'cluster') return new URL(url).host;
  return address.nodes.map(({ host, port }) => `${host.includes(':') ? `[${host}]` : host}:${port}`).join(',');
}

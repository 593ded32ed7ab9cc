/** Which server the sentinels call the master, and whether a connection leads there. */
import { lookup } from 'node:dns/promises';
import type { Socket } from 'node:net';
import type { Redis } from 'ioredis';

export interface NamedMaster {
  /** A name or an IP address, as the sentinel announces it. */
  readonly host: string;
  readonly port: number;
}

type Asks = Pick<Redis, 'call'>;

/**
 * @param host a name is looked up: all servers may have the same port, and nothing but their addresses tells them apart
 * @throws where the name cannot be looked up
 */
export async function leadsTo(
  { remoteAddress, remotePort }: Pick<Socket, 'remoteAddress' | 'remotePort'>,
  { host, port }: NamedMaster,
): Promise<boolean> {
  if (remotePort !== port) return false;
  return (await lookup(host, { all: true })).some(({ address }) => address === remoteAddress);
}

/** @throws where the sentinel does not answer, or knows no such master */
export async function askForMaster(sentinel: Asks, master: string): Promise<NamedMaster> {
  const named = await sentinel.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', master);
  if (!Array.isArray(named)) throw new Error(`The sentinel knows no master "${master}"`);
  return { host: String(named[0]), port: Number(named[1]) };
}

/**
 * How new a sentinel's word is: the number of the failover that it has heard of last (Redis Sentinel, "Configuration epochs").
 *
 * @returns 0 where its login may not ask
 */
export async function askForEpoch(sentinel: Asks, master: string): Promise<number> {
  const pairs = await sentinel.call('SENTINEL', 'MASTER', master).catch(() => []);
  const at = Array.isArray(pairs) ? pairs.indexOf('config-epoch') : -1;
  return at < 0 ? 0 : Number((pairs as unknown[])[at + 1]);
}

/**
 * A sentinel that has not heard of a failover yet still names the old master: of several words the newest counts.
 *
 * @returns true where none of the newest words leads there; false where there is no word at all
 */
export function isElsewhere(words: readonly { readonly epoch: number; readonly leads: boolean }[]): boolean {
  const newest = Math.max(...words.map(({ epoch }) => epoch));
  const believed = words.filter(({ epoch }) => epoch === newest);
  return believed.length > 0 && !believed.some(({ leads }) => leads);
}

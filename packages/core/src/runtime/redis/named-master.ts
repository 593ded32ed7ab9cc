/** Which server the sentinels name as the master, and whether a connection leads there. */
import { lookup } from 'node:dns/promises';
import type { Socket } from 'node:net';
import type { Redis } from 'ioredis';

export interface NamedMaster {
  /** Host name or IP address, as the sentinel announces it. */
  readonly host: string;
  readonly port: number;
}

type Sentinel = Pick<Redis, 'call'>;

/**
 * @param host is looked up, because servers may share a port and differ in the address only
 * @throws if the name cannot be looked up
 */
export async function leadsTo(
  { remoteAddress, remotePort }: Pick<Socket, 'remoteAddress' | 'remotePort'>,
  { host, port }: NamedMaster,
): Promise<boolean> {
  if (remotePort !== port) return false;
  return (await lookup(host, { all: true })).some(({ address }) => address === remoteAddress);
}

/** @throws if the sentinel does not answer, or does not monitor the master */
export async function askForMaster(sentinel: Sentinel, master: string): Promise<NamedMaster> {
  const named = await sentinel.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', master);
  if (!Array.isArray(named)) throw new Error(`The sentinel does not monitor a master "${master}"`);
  return { host: String(named[0]), port: Number(named[1]) };
}

/**
 * @returns the configuration epoch of the sentinel's answer: the number of the last failover that
 * it knows (Redis Sentinel, "Configuration epochs"); 0 if its login may not read it
 */
export async function askForEpoch(sentinel: Sentinel, master: string): Promise<number> {
  const pairs = await sentinel.call('SENTINEL', 'MASTER', master).catch(() => []);
  const at = Array.isArray(pairs) ? pairs.indexOf('config-epoch') : -1;
  return at < 0 ? 0 : Number((pairs as unknown[])[at + 1]);
}

/**
 * A sentinel that does not know of a failover yet still names the old master: the answers of the
 * highest epoch count.
 *
 * @returns true if none of those leads there; false without any answer
 */
export function isElsewhere(answers: readonly { readonly epoch: number; readonly leads: boolean }[]): boolean {
  const newest = Math.max(...answers.map(({ epoch }) => epoch));
  const counted = answers.filter(({ epoch }) => epoch === newest);
  return counted.length > 0 && !counted.some(({ leads }) => leads);
}

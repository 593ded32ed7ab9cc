/** What addresses and ranges of a setting mean, however they are spelled. */
import { BlockList, isIP } from 'node:net';

/** Addresses that no one from elsewhere comes to: this machine, private networks, those of links and of carriers' translation. */
const PRIVATE = new BlockList();
for (const [address, bits] of [
  ['127.0.0.0', 8],
  ['10.0.0.0', 8],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
  ['169.254.0.0', 16],
  ['100.64.0.0', 10],
] as const)
  PRIVATE.addSubnet(address, bits, 'ipv4');
for (const [address, bits] of [
  ['::1', 128],
  ['fc00::', 7],
  ['fe80::', 10],
] as const)
  PRIVATE.addSubnet(address, bits, 'ipv6');

const MAPPED = new BlockList();
MAPPED.addSubnet('::ffff:0:0', 96, 'ipv6');
const MAPPED_BITS = 96;

/** How a URL spells it: `::0` is `::`, `0` is `0.0.0.0`. What is no address stays as it is. */
function spelled(host: string): string {
  const bare = host.replace(/^\[|\]$/g, '').replace(/%.*$/, '');
  const url = isIP(bare) === 6 ? `http://[${bare}]` : `http://${bare}`;
  return URL.canParse(url) ? new URL(url).hostname.replace(/^\[|\]$/g, '') : bare;
}

/** @param host an address that is listened on, or a name. @returns who may come to it; a name tells nothing, and is taken for private */
export function reachOf(host: string): 'everywhere' | 'public' | 'private' {
  const address = spelled(host);
  if (['0.0.0.0', '::', '::ffff:0:0'].includes(address)) return 'everywhere';
  const family = isIP(address);
  return family === 0 || PRIVATE.check(address, family === 4 ? 'ipv4' : 'ipv6') ? 'private' : 'public';
}

/**
 * Whether a range is wider than a balancer's can be: above /8 of IPv4, above /32 of IPv6, or all of IPv4 as IPv6 writes it.
 *
 * @param range an address, a range, or a word like loopback
 */
export function isWideRange(range: string): boolean {
  const [address = '', bits] = range.trim().split('/');
  if (bits === undefined || isIP(address) === 0) return false;
  const length = Number(bits);
  if (isIP(address) === 4) return length < 8;
  const covered = new BlockList();
  covered.addSubnet(address, length, 'ipv6');
  const meetsMapped = MAPPED.check(address, 'ipv6') || covered.check('::ffff:0:0', 'ipv6');
  return length < 32 || (meetsMapped && length < MAPPED_BITS + 8);
}

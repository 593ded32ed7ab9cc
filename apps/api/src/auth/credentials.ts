/** The Authorization header (RFC 9110, 11.4). */
import type { IncomingHttpHeaders } from 'node:http';

/** @returns the scheme in lower case; two empty strings if the header is missing */
export function credentialsOf({ authorization = '' }: IncomingHttpHeaders): [scheme: string, secret: string] {
  const space = authorization.indexOf(' ');
  if (space < 0) return ['', ''];
  return [authorization.slice(0, space).toLowerCase(), authorization.slice(space + 1).trim()];
}

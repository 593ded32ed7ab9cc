/** The header Authorization, taken apart (RFC 9110, 11.4). */
import type { IncomingHttpHeaders } from 'node:http';

/** @returns the scheme in lower case; two empty texts where there are none */
export function credentialsOf({ authorization = '' }: IncomingHttpHeaders): [scheme: string, secret: string] {
  const space = authorization.indexOf(' ');
  if (space < 0) return ['', ''];
  return [authorization.slice(0, space).toLowerCase(), authorization.slice(space + 1).trim()];
}

/** @returns null where no bearer token was sent */
export function bearerOf(headers: IncomingHttpHeaders): string | null {
  const [scheme, secret] = credentialsOf(headers);
  return scheme === 'bearer' && secret !== '' ? secret : null;
}

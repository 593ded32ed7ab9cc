/**
 * Request ids, for finding a request's log lines. A short, plain X-Request-ID is used as it is.
 * Otherwise the id is 48 random bits of this process and a counter. It may be guessable because it
 * grants no access, and it is short because every order stores it.
 */
import { randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

/** Characters of X-Request-ID: it is stored with every order. */
const MAX_REQUEST_ID_LENGTH = 64;

const pattern = new RegExp(`^[A-Za-z0-9._:-]{1,${MAX_REQUEST_ID_LENGTH}}$`);
const begin = `${randomBytes(6).toString('base64url')}.`;
let count = 0;

export function requestIdOf({ headers }: IncomingMessage): string {
  const given = headers['x-request-id'];
  return typeof given === 'string' && pattern.test(given) ? given : newRequestId();
}

export function newRequestId(): string {
  return begin + (count++).toString(36);
}

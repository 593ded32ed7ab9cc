/**
 * Request ids, which lead to the lines in the log. X-Request-ID is taken where it is short and plain;
 * otherwise the id is new: 48 random bits of this process and a counter. It grants no access, so it may be
 * guessed; it is stored with every order, so it is short.
 */
import { randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { MAX_REQUEST_ID_LENGTH } from '@flash-sale/core/config/limits.ts';

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

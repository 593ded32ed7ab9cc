/**
 * Ids of requests, which lead to the lines in the log. One that the client brings is taken where it is short and plain; else it is a new one:
 * unique among all processes for ever (48 random bits of this process, and a number). Nobody is let in by it, so that it may be guessed;
 * it is kept with every order, so that it is short.
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

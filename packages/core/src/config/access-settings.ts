/** Settings of the API's way in: who a buyer is, which pages may call, and where operators come in. Part of environment.ts. */
import { isIP } from 'node:net';
import { Type } from '@sinclair/typebox';

export const WAY_IN_SETTINGS = {
  AUTH: Type.Optional(
    Type.Union([Type.Literal('jwt'), Type.Literal('header')], {
      description:
        'jwt: a buyer is the subject of a bearer token that is verified here. header: X-User-ID is believed, for development and behind a gateway that sets it. Unset: header in development; the API does not start in production.',
    }),
  ),
  JWT_SECRET: Type.Optional(
    Type.String({
      minLength: 32,
      maxLength: 1_024,
      pattern: '^[!-~]+$',
      description:
        'Secret of tokens that are signed with HS256, at least 32 printable characters without spaces. With AUTH=jwt this or JWT_JWKS_URL, never both.',
    }),
  ),
  JWT_JWKS_URL: Type.Optional(
    Type.String({
      pattern: '^https?://.+',
      description:
        'Address of the key set (JWKS) of tokens that are signed with RS256, ES256 or EdDSA; https:// in production, but for this machine. With AUTH=jwt this or JWT_SECRET, never both.',
    }),
  ),
  JWT_ISSUER: Type.Optional(
    Type.String({
      maxLength: 1_024,
      description: 'Who must have issued a token: exactly its claim iss. Needed with AUTH=jwt.',
    }),
  ),
  JWT_AUDIENCE: Type.Optional(
    Type.String({
      maxLength: 1_024,
      description: 'For whom a token must be: its claim aud, or one of it. Needed with AUTH=jwt.',
    }),
  ),
  CORS_ORIGINS: Type.String({
    default: '',
    description:
      'Origins whose pages may call the routes of buyers, with commas: https://shop.example, and nothing behind the host or port. Empty: none.',
  }),
  ADMIN_PORT: Type.Integer({
    default: 0,
    minimum: 0,
    maximum: 65_535,
    description:
      "TCP port of the operator's routes and the queue board, which are then not to be found on PORT; 0 = they are on PORT.",
  }),
  ADMIN_HOST: Type.String({
    default: '127.0.0.1',
    minLength: 1,
    description: 'Address that ADMIN_PORT is listened for on.',
  }),
};

/** Exactly what a browser sends as Origin: a list that is compared as it stands must be spelled like it. */
export function isOriginList(text: string): boolean {
  return text === '' || originsOf(text).every(isOrigin);
}

/** @returns the origins of CORS_ORIGINS */
export function originsOf(text: string): string[] {
  return text === '' ? [] : text.split(',').map((origin) => origin.trim());
}

function isOrigin(text: string): boolean {
  const url = URL.canParse(text) ? new URL(text) : null;
  return url !== null && /^https?:$/.test(url.protocol) && url.origin === text;
}

/** Whether two addresses that are listened on can meet on one port. */
export function hostsMeet(a: string, b: string): boolean {
  const isEvery = (host: string): boolean => host === '0.0.0.0' || host === '::';
  return a === b || isEvery(a) || isEvery(b) || isIP(a) === 0 || isIP(b) === 0;
}

/** AUTH and what belongs to it, read: how the API knows a buyer. */

import { type Environment, EnvironmentError } from './environment.ts';
import { isLoopback } from './loopback.ts';

export type Identity =
  /** X-User-ID is believed. */
  | { readonly kind: 'header' }
  | {
      readonly kind: 'jwt';
      /** One or the other: with both a public key could be taken for the secret. */
      readonly keys:
        | { readonly kind: 'secret'; readonly secret: string }
        | { readonly kind: 'jwks'; readonly url: URL };
      readonly issuer: string;
      readonly audience: string;
    };

type Settings = Pick<Environment, 'NODE_ENV' | 'AUTH' | 'JWT_SECRET' | 'JWT_JWKS_URL' | 'JWT_ISSUER' | 'JWT_AUDIENCE'>;

/** @throws EnvironmentError with a sentence for each setting that is missing, or that production refuses */
export function readIdentity(settings: Settings): Identity {
  const { NODE_ENV, AUTH, JWT_SECRET: secret, JWT_JWKS_URL, JWT_ISSUER: issuer, JWT_AUDIENCE: audience } = settings;
  if (AUTH === undefined && NODE_ENV === 'production') {
    throw new EnvironmentError(
      'AUTH is not set. In production it must be chosen: AUTH=jwt, with JWT_ISSUER, JWT_AUDIENCE and either JWT_JWKS_URL or JWT_SECRET; ' +
        'or AUTH=header, only behind a gateway that verifies buyers and sets X-User-ID itself.',
    );
  }
  if (AUTH !== 'jwt') return { kind: 'header' };
  const url = JWT_JWKS_URL === undefined ? undefined : readKeySetAddress(JWT_JWKS_URL, NODE_ENV);
  const faults = [
    ...(secret === undefined && url === undefined
      ? ['JWT_JWKS_URL and JWT_SECRET are not set. AUTH=jwt needs one of them, to verify tokens with.']
      : []),
    ...(secret !== undefined && url !== undefined
      ? ['JWT_JWKS_URL and JWT_SECRET are both set. Take one away: tokens are signed in one way only.']
      : []),
    ...(typeof url === 'string' ? [url] : []),
    ...(issuer === undefined
      ? ['JWT_ISSUER is not set. AUTH=jwt needs it: exactly the claim iss of your tokens.']
      : []),
    ...(audience === undefined
      ? [
          "JWT_AUDIENCE is not set. AUTH=jwt needs it: what your tokens' claim aud says, so that those for others are refused.",
        ]
      : []),
  ];
  if (faults.length > 0 || issuer === undefined || audience === undefined || typeof url === 'string')
    throw new EnvironmentError(faults.join('\n'));
  const keys = url === undefined ? { kind: 'secret' as const, secret: secret ?? '' } : { kind: 'jwks' as const, url };
  return { kind: 'jwt', keys, issuer, audience };
}

/** @returns a sentence where it cannot be asked, or must not be */
function readKeySetAddress(text: string, mode: Environment['NODE_ENV']): URL | string {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || url.username !== '' || url.password !== '')
    return 'JWT_JWKS_URL cannot be asked. Expected: https://host/path, without a user and a password.';
  if (url.protocol === 'http:' && mode === 'production' && !isLoopback(url.hostname))
    return 'JWT_JWKS_URL is http://. In production it must be https://: whoever is on the way could sign tokens for any buyer.';
  return url;
}

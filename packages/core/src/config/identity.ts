/** How the API identifies buyers: AUTH and the JWT_* settings. */

import { type Environment, EnvironmentError } from './environment.ts';
import { isLoopback } from './loopback.ts';

export type Identity =
  /** X-User-ID is trusted. */
  | { readonly kind: 'header' }
  | {
      readonly kind: 'jwt';
      /** Never both: a public key could be used as the secret. */
      readonly keys:
        | { readonly kind: 'secret'; readonly secret: string }
        | { readonly kind: 'jwks'; readonly url: URL };
      readonly issuer: string;
      readonly audience: string;
    };

type Settings = Pick<Environment, 'NODE_ENV' | 'AUTH' | 'JWT_SECRET' | 'JWT_JWKS_URL' | 'JWT_ISSUER' | 'JWT_AUDIENCE'>;

/**
 * @throws EnvironmentError with a sentence for each setting that is missing, without effect, or
 * refused in production
 */
export function readIdentity(settings: Settings): Identity {
  const { NODE_ENV, AUTH, JWT_SECRET: secret, JWT_JWKS_URL, JWT_ISSUER: issuer, JWT_AUDIENCE: audience } = settings;
  if (AUTH === undefined && NODE_ENV === 'production') {
    throw new EnvironmentError(
      'AUTH is not set. Production needs AUTH=jwt with JWT_ISSUER, JWT_AUDIENCE and either JWT_JWKS_URL or JWT_SECRET, ' +
        'or AUTH=header behind a gateway that authenticates buyers and sets X-User-ID.',
    );
  }
  if (AUTH !== 'jwt') {
    const ineffective = Object.entries({ JWT_SECRET: secret, JWT_JWKS_URL, JWT_ISSUER: issuer, JWT_AUDIENCE: audience })
      .filter(([, value]) => value !== undefined)
      .map(([name]) => `${name} has no effect without AUTH=jwt. Set AUTH=jwt, or remove ${name}.`);
    if (ineffective.length > 0) throw new EnvironmentError(ineffective.join('\n'));
    return { kind: 'header' };
  }
  const url = JWT_JWKS_URL === undefined ? undefined : readKeySetAddress(JWT_JWKS_URL, NODE_ENV);
  const faults = [
    ...(secret === undefined && url === undefined
      ? ['JWT_JWKS_URL and JWT_SECRET are not set. AUTH=jwt needs one of them to verify tokens.']
      : []),
    ...(secret !== undefined && url !== undefined
      ? ['JWT_JWKS_URL and JWT_SECRET are both set. Remove one of them.']
      : []),
    ...(typeof url === 'string' ? [url] : []),
    ...(issuer === undefined ? ['JWT_ISSUER is not set. AUTH=jwt needs the exact value of the claim iss.'] : []),
    ...(audience === undefined ? ['JWT_AUDIENCE is not set. AUTH=jwt needs the value of the claim aud.'] : []),
  ];
  if (faults.length > 0 || issuer === undefined || audience === undefined || typeof url === 'string')
    throw new EnvironmentError(faults.join('\n'));
  const keys = url === undefined ? { kind: 'secret' as const, secret: secret ?? '' } : { kind: 'jwks' as const, url };
  return { kind: 'jwt', keys, issuer, audience };
}

/** @returns an error message if the address cannot be used */
function readKeySetAddress(text: string, mode: Environment['NODE_ENV']): URL | string {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || url.username !== '' || url.password !== '')
    return 'JWT_JWKS_URL has a value that does not fit. Expected: https://host/path, without user and password.';
  if (url.protocol === 'http:' && mode === 'production' && !isLoopback(url.hostname))
    return 'JWT_JWKS_URL is http://. Production needs https://: an attacker on the network could sign tokens for any buyer.';
  return url;
}

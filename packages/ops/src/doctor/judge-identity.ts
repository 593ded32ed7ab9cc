/** Who may come in: how buyers are known, which pages may call, and where operators come in. */

import { type Environment, EnvironmentError, originsOf } from '@flash-sale/core/config/environment.ts';
import { type Identity, readIdentity } from '@flash-sale/core/config/identity.ts';
import { isLoopback } from '@flash-sale/core/config/loopback.ts';
import { reachOf } from './addresses.ts';
import { type Finding, ok, warning, wrong } from './checks.ts';
import { weakness } from './judge-secrets.ts';

const FRESH_SECRET = `JWT_SECRET=$(node -p "crypto.randomBytes(32).toString('base64url')"), and the same one where tokens are made`;

/** As production would take it, whatever the mode. */
export function judgeAuth(settings: Environment): Finding {
  try {
    const identity = readIdentity({ ...settings, NODE_ENV: 'production' });
    return ok('AUTH', identity.kind === 'header' ? 'header: X-User-ID is believed' : `jwt: ${describeKeys(identity)}`);
  } catch (error) {
    if (!(error instanceof EnvironmentError)) throw error;
    const [first = '', ...rest] = error.message.split('\n').join(' ').split('. ');
    return wrong('AUTH', first, rest.join('. '));
  }
}

function describeKeys(identity: Exclude<Identity, { kind: 'header' }>): string {
  const { keys, issuer, audience } = identity;
  return `${keys.kind === 'secret' ? 'a secret' : `keys from ${keys.url.host}`}, from ${issuer} for ${audience}`;
}

/** Its length is the environment's matter. */
export function judgeJwtSecret({ AUTH, JWT_SECRET: secret }: Environment): Finding {
  if (AUTH !== 'jwt' || secret === undefined) return ok('JWT_SECRET', 'none is in use');
  const weak = weakness(secret);
  return weak === null ? ok('JWT_SECRET', `${secret.length} characters`) : wrong('JWT_SECRET', weak, FRESH_SECRET);
}

export function judgeCors({ CORS_ORIGINS }: Environment): Finding {
  if (CORS_ORIGINS === '') return ok('CORS', 'no origin is allowed: pages of other origins read nothing');
  const plain = originsOf(CORS_ORIGINS).filter(
    (origin) => origin.startsWith('http:') && !isLoopback(new URL(origin).hostname),
  );
  return plain.length === 0
    ? ok('CORS', CORS_ORIGINS)
    : warning('CORS', `${plain.join(', ')}: whoever is on the way can put code into the page`, 'https:// origins only');
}

export function judgeAdminDoor({ ADMIN_PORT, ADMIN_HOST }: Environment): Finding {
  if (ADMIN_PORT === 0) return ok('ADMIN_DOOR', "on PORT, behind the operator's token (ADMIN_PORT sets it apart)");
  const reach = reachOf(ADMIN_HOST);
  return reach !== 'private'
    ? warning(
        'ADMIN_DOOR',
        `open on ${reach === 'everywhere' ? 'every address' : `${ADMIN_HOST}, a public address`}, port ${ADMIN_PORT}`,
        'ADMIN_HOST= an address that operators reach and no buyer does',
      )
    : ok('ADMIN_DOOR', `${ADMIN_HOST}, port ${ADMIN_PORT}`);
}

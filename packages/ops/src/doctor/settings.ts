/** The settings of the processes: one against another, and against what production needs. */
import { type Environment, EnvironmentError, originsOf } from '@flash-sale/core/config/environment.ts';
import { readIdentity } from '@flash-sale/core/config/identity.ts';
import { isLoopback } from '@flash-sale/core/config/loopback.ts';
import ipaddr from 'ipaddr.js';
import { type Check, type CheckResult, ok, warning, wrong } from './report.ts';
import { weaknessOf } from './secrets.ts';

const BALANCER = 'TRUST_PROXY=10.0.0.0/8 (the addresses of your load balancer, and no others)';
const FRESH = `$(node -p "crypto.randomBytes(32).toString('base64url')")`;

/** Of both services. */
export const SERVICE_CHECKS: readonly Check<Environment>[] = [
  [
    'METRICS',
    'Metrics are served to anyone who reaches their port.',
    ({ METRICS_PORT: port, METRICS_HOST: host }) =>
      port === 0
        ? ok('off (METRICS_PORT=0)')
        : checkHost(host, `METRICS_HOST= an address that only Prometheus reaches`),
  ],
  [
    'LOG_LEVEL',
    'Problems are logged with level warn or error.',
    ({ LOG_LEVEL: level }) =>
      ['silent', 'fatal', 'error'].includes(level)
        ? warning(`${level}: warnings are not logged`, 'LOG_LEVEL=info')
        : ok(level),
  ],
];

/** Of the API. */
export const API_CHECKS: readonly Check<Environment>[] = [
  [
    'MODE',
    'Only production mode requires secrets and runs these checks at each start.',
    ({ NODE_ENV: mode }) => (mode === 'production' ? ok(mode) : warning(mode, 'NODE_ENV=production')),
  ],
  ['AUTH', 'Anyone who can pose as another buyer can order as them and read their orders.', checkAuth],
  ['SECRETS', 'The admin token controls every sale; the JWT secret signs tokens for any buyer.', checkSecrets],
  [
    'HOST',
    'A client that reaches the port directly bypasses the TLS and the authentication of the gateway.',
    checkListeners,
  ],
  ['TRUST_PROXY', 'A client that connects from a trusted proxy address can forge its own address.', checkProxy],
  ['RATE_LIMITS', 'Without rate limits, one client can use the whole capacity.', checkRateLimits],
  [
    'BACKLOG',
    'A low backlog limit refuses orders early in a drop; a high one leaves more orders only in Redis.',
    checkBacklog,
  ],
  ['TIMEOUTS', 'Timeouts that do not fit together cut off requests that would be answered.', checkTimeouts],
  [
    'CORS',
    'Browsers let pages of other origins read responses only if a header allows it.',
    ({ CORS_ORIGINS: origins }) => {
      if (origins === '') return ok('no origin is allowed');
      const plain = originsOf(origins).filter((one) => one.startsWith('http:') && !isLoopback(new URL(one).hostname));
      return plain.length === 0
        ? ok(origins)
        : warning(`${plain.join(', ')}: an attacker on the network can change the page`, 'https:// origins only');
    },
  ],
];

/** As in production, regardless of NODE_ENV. */
function checkAuth(settings: Environment): CheckResult {
  try {
    const identity = readIdentity({ ...settings, NODE_ENV: 'production' });
    return ok(identity.kind === 'header' ? 'header: X-User-ID is trusted' : `jwt: issued by ${identity.issuer}`);
  } catch (error) {
    if (!(error instanceof EnvironmentError)) throw error;
    const [first = '', ...rest] = error.message.split('\n').join(' ').split('. ');
    return wrong(first, rest.join('. '));
  }
}

/** The schema of the settings checks lengths. */
function checkSecrets({ ADMIN_TOKEN: token, AUTH, JWT_SECRET }: Environment): CheckResult {
  if (token === undefined) return wrong('ADMIN_TOKEN is not set: the API does not start', `ADMIN_TOKEN=${FRESH}`);
  const secrets = { ADMIN_TOKEN: token, ...(AUTH === 'jwt' && JWT_SECRET !== undefined ? { JWT_SECRET } : {}) };
  for (const [name, secret] of Object.entries(secrets)) {
    const weakness = weaknessOf(secret);
    if (weakness !== null) return wrong(`${name} is ${weakness}`, `${name}=${FRESH}`);
  }
  return ok(
    Object.entries(secrets)
      .map(([name, { length }]) => `${name}: ${length} characters`)
      .join(', '),
  );
}

function checkListeners(settings: Environment): CheckResult {
  const { HOST, TRUST_PROXY, ADMIN_PORT, ADMIN_HOST } = settings;
  if (ADMIN_PORT !== 0) {
    const admin = checkHost(ADMIN_HOST, 'ADMIN_HOST= an address that operators reach and buyers do not');
    if (admin.outcome !== 'ok') return { ...admin, found: `the admin API on port ${ADMIN_PORT}: ${admin.found}` };
  }
  if (isLoopback(HOST)) return ok(`${HOST}: this machine only`);
  if (TRUST_PROXY !== '') return ok(`${HOST}, behind ${TRUST_PROXY}`);
  return warning(
    `${HOST}, and TRUST_PROXY names no gateway`,
    `Put a gateway in front that speaks TLS and authenticates buyers, close the port to others, and set TRUST_PROXY; or HOST=127.0.0.1`,
  );
}

function checkHost(host: string, fix: string): CheckResult {
  const range = ipaddr.isValid(host) ? ipaddr.process(host).range() : 'a name';
  if (range === 'unspecified') return warning(`${host}: open on every address`, fix);
  return range === 'unicast' ? warning(`${host}: a public address`, fix) : ok(host);
}

function checkProxy({ TRUST_PROXY: proxies }: Environment): CheckResult {
  const ranges = proxies.split(',').map((range) => range.trim());
  const all = ranges.filter((range) => /\/0+$/.test(range));
  if (all.length > 0) return wrong(`${all.join(', ')}: every client is trusted`, BALANCER);
  const wide = ranges.filter(isWide);
  if (wide.length > 0) return warning(`${wide.join(', ')}: wider than the network of a load balancer`, BALANCER);
  return ok(proxies === '' ? 'no proxy is trusted' : proxies);
}

/** Above /8 of IPv4, in either notation, or /32 of IPv6. */
function isWide(range: string): boolean {
  if (!range.includes('/') || !ipaddr.isValidCIDR(range)) return false;
  const [address, length] = ipaddr.parseCIDR(range);
  if (address instanceof ipaddr.IPv4) return length < 8;
  const isMapped = address.isIPv4MappedAddress() || ipaddr.IPv6.parse('::ffff:0:0').match(address, length);
  return length < (isMapped ? 104 : 32);
}

function checkRateLimits(settings: Environment): CheckResult {
  const { GLOBAL_RATE_LIMIT, RATE_LIMIT_TOKENS, TOKEN_REFILL_RATE, IP_RATE_LIMIT, TRUST_PROXY, HOST } = settings;
  const off = Object.entries({ GLOBAL_RATE_LIMIT, RATE_LIMIT_TOKENS }).filter(([, limit]) => limit === 0);
  if (off.length > 0) {
    return warning(`off: ${off.map(([name]) => name).join(', ')}`, 'GLOBAL_RATE_LIMIT=5000, RATE_LIMIT_TOKENS=20');
  }
  if (IP_RATE_LIMIT === 0 && !isLoopback(HOST)) {
    return warning(
      'off: IP_RATE_LIMIT, and other machines reach the port',
      'IP_RATE_LIMIT=200, once TRUST_PROXY is set',
    );
  }
  if (IP_RATE_LIMIT > 0 && TRUST_PROXY === '' && isLoopback(HOST)) {
    return warning('IP_RATE_LIMIT is shared by everyone behind a gateway on this machine', 'TRUST_PROXY=loopback');
  }
  const buyer = `${RATE_LIMIT_TOKENS} at once, then ${TOKEN_REFILL_RATE} a second`;
  return ok(`${GLOBAL_RATE_LIMIT} orders a second; a buyer ${buyer}; an address ${IP_RATE_LIMIT || 'unlimited'}`);
}

function checkBacklog({ BACKLOG_LIMIT: backlog, GLOBAL_RATE_LIMIT: rate }: Environment): CheckResult {
  if (backlog >= rate) return ok(`${backlog} orders of a sale may wait`);
  return warning(
    `BACKLOG_LIMIT=${backlog} is less than a second of GLOBAL_RATE_LIMIT=${rate}: a drop starts with LEDGER_BEHIND`,
    `BACKLOG_LIMIT=${rate * 10} (what your workers confirm in 30 s)`,
  );
}

function checkTimeouts(settings: Environment): CheckResult {
  const { REQUEST_TIMEOUT_MS: request, SHUTDOWN_TIMEOUT_MS: stop, SHUTDOWN_DRAIN_MS: drain, TRUST_PROXY } = settings;
  if (TRUST_PROXY !== '' && drain === 0) {
    const fix = 'SHUTDOWN_DRAIN_MS=5000 (longer than the load balancer takes to notice)';
    return warning('SHUTDOWN_DRAIN_MS=0 behind a load balancer: it sends requests to a process that stops', fix);
  }
  return ok(`request ${request} ms, drain ${drain} ms, stop ${stop} ms`);
}

/** The settings of the processes, against each other and against what production asks for. */
import type { Environment } from '@flash-sale/core/config/environment.ts';
import { isLoopback } from '@flash-sale/core/config/loopback.ts';
import { isWideRange, reachOf } from './addresses.ts';
import { type Finding, ok, warning, wrong } from './checks.ts';
import { judgeAdminDoor, judgeCors } from './judge-identity.ts';

export function judgeMode({ NODE_ENV }: Environment): Finding {
  return NODE_ENV === 'production'
    ? ok('MODE', 'production')
    : warning('MODE', NODE_ENV, 'NODE_ENV=production, where this is to sell; it is judged as if it were');
}

/** What is about the crowd and its way in: the API's settings. */
export function judgeWayIn(settings: Environment): Finding[] {
  return [
    judgeHost(settings),
    judgeProxy(settings),
    judgeAddressLimit(settings),
    judgeRateLimits(settings),
    judgeBacklog(settings),
    judgeTimeouts(settings),
    judgeCors(settings),
    judgeAdminDoor(settings),
  ];
}

function judgeHost({ HOST, TRUST_PROXY, AUTH }: Environment): Finding {
  const proxy = TRUST_PROXY === '' ? 'no proxy is named' : `behind ${TRUST_PROXY}`;
  if (isLoopback(HOST)) return ok('HOST', `${HOST}: this machine only`);
  if (TRUST_PROXY !== '') return ok('HOST', `${HOST}, ${proxy}`);
  return warning(
    'HOST',
    `${HOST}, and ${proxy}`,
    `put a gateway before it that ${AUTH === 'jwt' ? 'speaks TLS' : 'verifies buyers and sets X-User-ID'}, let nobody else reach the port, and name it: TRUST_PROXY=10.0.0.0/8 (its addresses); or HOST=127.0.0.1`,
  );
}

function judgeProxy({ TRUST_PROXY }: Environment): Finding {
  const everybody = TRUST_PROXY.split(',').filter((range) => /\/0+$/.test(range.trim()));
  if (everybody.length > 0) {
    return wrong(
      'TRUST_PROXY',
      `${everybody.join(', ').trim()}: everybody is believed`,
      'TRUST_PROXY=10.0.0.0/8 (the addresses of your balancer, and nobody else)',
    );
  }
  const wide = TRUST_PROXY.split(',').filter(isWideRange);
  if (wide.length > 0) {
    return warning(
      'TRUST_PROXY',
      `${wide.join(', ').trim()}: wider than any balancer's network, and whoever is in it says by himself which address he has`,
      'TRUST_PROXY=10.0.0.0/8 (the addresses of your balancer, and nobody else)',
    );
  }
  return ok('TRUST_PROXY', TRUST_PROXY === '' ? 'nobody is believed' : TRUST_PROXY);
}

function judgeAddressLimit({ IP_RATE_LIMIT, TRUST_PROXY, HOST }: Environment): Finding {
  if (IP_RATE_LIMIT === 0 && !isLoopback(HOST)) {
    return warning(
      'ADDRESS_LIMIT',
      'off, and the port is open to other machines',
      'IP_RATE_LIMIT=200, once TRUST_PROXY is right',
    );
  }
  if (IP_RATE_LIMIT > 0 && TRUST_PROXY === '' && isLoopback(HOST)) {
    return warning(
      'ADDRESS_LIMIT',
      `${IP_RATE_LIMIT} a second, and whoever comes through a gateway on this machine has its address: they share it`,
      'TRUST_PROXY=loopback',
    );
  }
  return ok('ADDRESS_LIMIT', IP_RATE_LIMIT === 0 ? 'off: this machine only' : `${IP_RATE_LIMIT} a second`);
}

function judgeRateLimits({ GLOBAL_RATE_LIMIT, RATE_LIMIT_TOKENS, TOKEN_REFILL_RATE }: Environment): Finding {
  const off = [
    ...(GLOBAL_RATE_LIMIT === 0 ? ['GLOBAL_RATE_LIMIT'] : []),
    ...(RATE_LIMIT_TOKENS === 0 ? ['RATE_LIMIT_TOKENS'] : []),
  ];
  if (off.length > 0) {
    return warning(
      'RATE_LIMITS',
      `off: ${off.join(', ')}`,
      'GLOBAL_RATE_LIMIT=5000 and RATE_LIMIT_TOKENS=20, by what a load test bore',
    );
  }
  return ok(
    'RATE_LIMITS',
    `${GLOBAL_RATE_LIMIT} orders a second; a buyer ${RATE_LIMIT_TOKENS} at once, then ${TOKEN_REFILL_RATE} a second`,
  );
}

function judgeBacklog({ BACKLOG_LIMIT, GLOBAL_RATE_LIMIT }: Environment): Finding {
  if (BACKLOG_LIMIT < GLOBAL_RATE_LIMIT) {
    return warning(
      'BACKLOG',
      `BACKLOG_LIMIT=${BACKLOG_LIMIT} is less than one second of GLOBAL_RATE_LIMIT=${GLOBAL_RATE_LIMIT}: a drop is refused with LEDGER_BEHIND as it begins`,
      `BACKLOG_LIMIT=${GLOBAL_RATE_LIMIT * 10}: what your workers confirm in 30 s`,
    );
  }
  return ok('BACKLOG', `${BACKLOG_LIMIT} orders of a sale`);
}

function judgeTimeouts({
  REQUEST_TIMEOUT_MS,
  SHUTDOWN_TIMEOUT_MS,
  SHUTDOWN_DRAIN_MS,
  TRUST_PROXY,
}: Environment): Finding {
  if (SHUTDOWN_TIMEOUT_MS <= REQUEST_TIMEOUT_MS) {
    return warning(
      'TIMEOUTS',
      `REQUEST_TIMEOUT_MS=${REQUEST_TIMEOUT_MS}: a stop, which takes ${SHUTDOWN_TIMEOUT_MS} ms at most, cuts off requests that still wait`,
      'REQUEST_TIMEOUT_MS=2000',
    );
  }
  if (TRUST_PROXY !== '' && SHUTDOWN_DRAIN_MS === 0) {
    return warning(
      'TIMEOUTS',
      'SHUTDOWN_DRAIN_MS is 0 behind a load balancer, which sends buyers to a stopping process until it notices',
      'SHUTDOWN_DRAIN_MS=5000, longer than your load balancer takes to notice',
    );
  }
  return ok(
    'TIMEOUTS',
    `request ${REQUEST_TIMEOUT_MS} ms, drain ${SHUTDOWN_DRAIN_MS} ms, stop ${SHUTDOWN_TIMEOUT_MS} ms`,
  );
}

export function judgeMetrics({ METRICS_PORT, METRICS_HOST }: Environment): Finding {
  if (METRICS_PORT === 0) return ok('METRICS', 'off (METRICS_PORT)');
  const reach = reachOf(METRICS_HOST);
  return reach !== 'private'
    ? warning(
        'METRICS',
        `open on ${reach === 'everywhere' ? 'every address' : `${METRICS_HOST}, a public address`}, port ${METRICS_PORT}`,
        'METRICS_HOST= an address that Prometheus reaches and no buyer does',
      )
    : ok('METRICS', `${METRICS_HOST}, port ${METRICS_PORT}`);
}

export function judgeLogLevel({ LOG_LEVEL }: Environment): Finding {
  return ['silent', 'fatal', 'error'].includes(LOG_LEVEL)
    ? warning('LOG_LEVEL', `${LOG_LEVEL}: warnings are not written`, 'LOG_LEVEL=info')
    : ok('LOG_LEVEL', LOG_LEVEL);
}

/**
 * A crowd orders from one sale, one unit each, each order as another buyer:
 *   SCENARIO=10-users|50-users|500-users|spike ADMIN_TOKEN=… k6 run k6/scenarios.ts
 *
 * Variables: BASE_URL; SALE_ID of an open sale (without it a sale of UNITS units is created, which
 * needs ADMIN_TOKEN); DURATION_S and ORDERS instead of those of scenarios.json (ORDERS=0: ends by
 * time); RESULT_FILE for the result as JSON. k6 exits with 99 if a threshold fails. `npm run load`
 * runs this and compares the sale's numbers with the replies.
 */
import { scenario as running } from 'k6/execution';
import { post } from 'k6/http';
import { Counter } from 'k6/metrics';

interface Scenario {
  users: number;
  seconds: number;
  orders?: number;
  /** 95 of 100 orders must be answered within so many ms. */
  p95Ms: number;
}

const scenarios = JSON.parse(open('./scenarios.json')) as Record<string, Scenario>;
const name = __ENV.SCENARIO || '10-users';
const chosen = scenarios[name];
if (!chosen) throw new Error(`SCENARIO is "${name}". Expected: ${Object.keys(scenarios).join(', ')}.`);
const seconds = Number(__ENV.DURATION_S || chosen.seconds);
const orders = Number(__ENV.ORDERS || chosen.orders || 0);
const baseUrl = __ENV.BASE_URL || 'http://127.0.0.1:5001';

/** Codes of a healthy sale; other expected refusals count as OTHER. k6 needs counters declared. */
const REFUSALS = [
  'SOLD_OUT',
  'BUYER_LIMIT',
  'SYSTEM_RATE_LIMITED',
  'BUYER_RATE_LIMITED',
  'ADDRESS_RATE_LIMITED',
  'OTHER',
];
const refused = new Map(REFUSALS.map((code) => [code, new Counter(`refused_${code}`)]));
const accepted = new Counter('accepted');
/** Replies other than 200 with an order, and 400 or 429 with a code (429 with Retry-After). */
const unexpected = new Counter('unexpected');

export const options = {
  scenarios: {
    [name]: orders
      ? { executor: 'shared-iterations', vus: chosen.users, iterations: orders, maxDuration: '180s' }
      : // The graceful stop lets orders in progress be answered.
        { executor: 'constant-vus', vus: chosen.users, duration: `${seconds}s`, gracefulStop: '30s' },
  },
  summaryTrendStats: ['med', 'p(95)', 'p(99)', 'max'],
  thresholds: {
    unexpected: ['count==0'],
    'http_req_duration{name:order}': [`p(95)<${chosen.p95Ms}`],
    ...(orders ? { iterations: [`count==${orders}`] } : {}),
  },
};

export function setup(): { saleId: string; run: string } {
  const now = Date.now();
  const run = now.toString(36);
  if (__ENV.SALE_ID) return { saleId: __ENV.SALE_ID, run };
  const saleId = `load-${name}-${run}`;
  const sale = {
    product_id: saleId,
    name: `Load: ${name}`,
    original_price: '2.00',
    flash_sale_price: '1.00',
    currency: 'USD',
    units: Number(__ENV.UNITS || 1000),
    starts_at: new Date(now - 60_000).toISOString(),
    ends_at: new Date(now + 30 * 60_000).toISOString(),
  };
  const headers = { Authorization: `Bearer ${__ENV.ADMIN_TOKEN}`, 'Content-Type': 'application/json' };
  const reply = post(`${baseUrl}/api/admin/sales`, JSON.stringify(sale), { headers });
  if (reply.status !== 201) throw new Error(`The sale was not made: ${reply.status} ${reply.error} ${reply.body}`);
  return { saleId, run };
}

export default function placeOrder({ saleId, run }: { saleId: string; run: string }): void {
  const reply = post(`${baseUrl}/api/flash-sales/${saleId}/order`, null, {
    headers: { 'X-User-ID': `k6-${run}-${running.iterationInTest}` },
    tags: { name: 'order' },
  });
  const body = String(reply.body ?? '');
  const code = /"code":"([A-Z_]+)"/.exec(body)?.[1];
  if (reply.status === 200 && body.includes('"order_id"')) accepted.add(1);
  else if (code && (reply.status === 400 || (reply.status === 429 && reply.headers['Retry-After'])))
    (refused.get(code) ?? refused.get('OTHER'))?.add(1);
  else unexpected.add(1);
}

interface Summary {
  metrics: Record<string, { values: Record<string, number>; thresholds?: Record<string, { ok: boolean }> }>;
  state: { testRunDurationMs: number };
}

/** @returns what k6 prints and writes: the result in the form of scripts/load/crowd.ts */
export function handleSummary({ metrics, state }: Summary): Record<string, string> {
  const count = (metric: string): number => metrics[metric]?.values.count ?? 0;
  const latency = metrics['http_req_duration{name:order}']?.values ?? {};
  const result = {
    seconds: state.testRunDurationMs / 1000,
    requests: count('iterations'),
    accepted: count('accepted'),
    refused: Object.fromEntries(
      REFUSALS.flatMap((code) => (count(`refused_${code}`) > 0 ? [[code, count(`refused_${code}`)]] : [])),
    ),
    unexpected: count('unexpected'),
    // k6 lets every order end; one without a reply counts as unexpected.
    unanswered: 0,
    latencyMs: { p50: latency.med, p95: latency['p(95)'], p99: latency['p(99)'], max: latency.max },
    failures: Object.entries(metrics).flatMap(([metric, { thresholds = {} }]) =>
      Object.entries(thresholds).flatMap(([bound, { ok }]) => (ok ? [] : [`${metric}: not ${bound}`])),
    ),
  };
  const json = JSON.stringify(result, null, 2);
  return { stdout: `${json}\n`, ...(__ENV.RESULT_FILE ? { [__ENV.RESULT_FILE]: json } : {}) };
}

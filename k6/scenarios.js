/**
 * A crowd orders from one sale: SCENARIO=10-users|50-users|500-users|spike k6 run k6/scenarios.js
 *
 *   1. setup: a fresh sale of UNITS units by the operator API (or SALE_ID, which nobody else may order from meanwhile).
 *   2. The crowd: each order comes from another buyer, for one unit.
 *   3. teardown: waits until every accepted order is in the ledger, then holds the sale's numbers against what was answered.
 *   4. summary: a short table; with RESULT_FILE also as JSON.
 *
 * k6 leaves with 99 where a threshold fails, also one of the end check.
 * Variables: ADMIN_TOKEN (needed), BASE_URL, SCENARIO, UNITS, SALE_ID, RESULT_FILE; USERS, DURATION_S, ORDERS and P95_MS
 * instead of those of scenarios.json.
 */
import { check } from 'k6';
import exec from 'k6/execution';
import http from 'k6/http';
import { Counter, Gauge } from 'k6/metrics';
import { makeSale, readSale, readSettledSale } from './operator.js';
import { summaryText, toResult } from './summary.js';

const SCENARIOS = JSON.parse(open('./scenarios.json'));
const name = __ENV.SCENARIO || '10-users';
const known = SCENARIOS[name];
if (!known) throw new Error(`SCENARIO is "${name}". Expected: ${Object.keys(SCENARIOS).join(', ')}.`);

const scenario = {
  users: Number(__ENV.USERS || known.users),
  seconds: Number(__ENV.DURATION_S || known.seconds),
  // 0: ends by time instead.
  orders: Number(__ENV.ORDERS || known.orders || 0),
  p95Ms: Number(__ENV.P95_MS || known.p95Ms),
};
const baseUrl = __ENV.BASE_URL || 'http://127.0.0.1:5001';
const units = Number(__ENV.UNITS || 1000);

/** Codes that a crowd is refused with when all is well; others are lawful too, and counted together. */
const USUAL_REFUSALS = ['SOLD_OUT', 'BUYER_LIMIT', 'SYSTEM_RATE_LIMITED', 'BUYER_RATE_LIMITED', 'ADDRESS_RATE_LIMITED'];

const accepted = new Counter('accepted');
const refused = Object.fromEntries([...USUAL_REFUSALS, 'OTHER'].map((code) => [code, new Counter(`refused_${code}`)]));
const serverFaults = new Counter('server_faults');
const unexpected = new Counter('unexpected_replies');

// teardown cannot read what the crowd counted, so accepted and taken meet in one counter: the crowd adds, teardown subtracts.
const acceptedMinusTaken = new Counter('accepted_minus_taken');
// Each SOLD_OUT adds one; teardown takes away more than any crowd has when no unit is left, as it must be.
const soldOutWithUnitsLeft = new Counter('sold_out_with_units_left');
const MORE_THAN_ANY_CROWD = 1e12;

const numbers = Object.fromEntries(
  ['available_before', 'available_after', 'reserved_after', 'taken', 'ledger_risen'].map((of) => [
    of,
    new Gauge(`units_${of}`),
  ]),
);

const order = { name: 'order' };

export const options = {
  scenarios: { [name]: scenario.orders ? atOnce(scenario) : steadily(scenario) },
  summaryTrendStats: ['avg', 'med', 'p(95)', 'p(99)', 'max'],
  teardownTimeout: '60s',
  thresholds: {
    server_faults: ['count==0'],
    unexpected_replies: ['count==0'],
    'http_req_duration{name:order}': [`p(95)<${scenario.p95Ms}`],
    accepted_minus_taken: ['count==0'],
    sold_out_with_units_left: ['count<=0'],
    'checks{part:end}': ['rate==1'],
    // Fewer mean that the time ran out, and that the crowd was another one than the scenario says.
    ...(scenario.orders ? { iterations: [`count==${scenario.orders}`] } : {}),
  },
};

function atOnce({ users, orders }) {
  return { executor: 'shared-iterations', vus: users, iterations: orders, maxDuration: '180s' };
}

function steadily({ users, seconds }) {
  // The graceful stop lets orders that are under way be answered: an order that was cut off could not be accounted for.
  return { executor: 'constant-vus', vus: users, duration: `${seconds}s`, gracefulStop: '30s' };
}

export function setup() {
  if (!__ENV.ADMIN_TOKEN) throw new Error('ADMIN_TOKEN is not set: the end check reads the sale by the operator API.');
  const operator = { baseUrl, token: __ENV.ADMIN_TOKEN };
  const saleId = __ENV.SALE_ID || makeSale(operator, name, units);
  return { saleId, run: `${Date.now().toString(36)}`, before: readSale(operator, saleId) };
}

export default function placeOrder({ saleId, run }) {
  const reply = http.post(`${baseUrl}/api/flash-sales/${saleId}/order`, null, {
    headers: { 'X-User-ID': `k6-${run}-${exec.scenario.iterationInTest}` },
    tags: order,
  });
  if (reply.status === 200) {
    accepted.add(1);
    acceptedMinusTaken.add(1);
    if (!reply.body.includes('"order_id"')) unexpected.add(1);
    return;
  }
  if (reply.status >= 500) serverFaults.add(1);
  const code = codeOf(reply);
  const lawful = code !== undefined && (reply.status === 400 || (reply.status === 429 && reply.headers['Retry-After']));
  if (!lawful) {
    unexpected.add(1);
    return;
  }
  (refused[code] || refused.OTHER).add(1);
  if (code === 'SOLD_OUT') soldOutWithUnitsLeft.add(1);
}

/** The stable word of a refusal; undefined where the reply (or nothing at all) has none. */
function codeOf(reply) {
  return /"code":"([A-Z_]+)"/.exec(reply.body || '')?.[1];
}

export function teardown({ saleId, before }) {
  const after = readSettledSale({ baseUrl, token: __ENV.ADMIN_TOKEN }, saleId);
  const given = after.allotment - before.allotment;
  const taken = before.available + given - after.available;
  const risen = after.ledger.sold - before.ledger.sold;
  acceptedMinusTaken.add(-taken);
  soldOutWithUnitsLeft.add(after.available === 0 ? -MORE_THAN_ANY_CROWD : 0);
  numbers.available_before.add(before.available);
  numbers.available_after.add(after.available);
  numbers.reserved_after.add(after.reserved);
  numbers.taken.add(taken);
  numbers.ledger_risen.add(risen);
  check(
    after,
    {
      'no unit is still reserved': (sale) => sale.reserved === 0,
      'available is not below 0': (sale) => sale.available >= 0,
      'the ledger sold what was taken': () => risen === taken,
      'the ledger did not sell more than the allotment': (sale) => sale.ledger.sold <= sale.ledger.allotment,
      'units were sold, where there were any': () => taken > 0 || before.available === 0,
    },
    { part: 'end' },
  );
}

export function handleSummary(data) {
  const result = toResult(data, { scenario: name, saleId: data.setup_data?.saleId });
  const files = __ENV.RESULT_FILE ? { [__ENV.RESULT_FILE]: JSON.stringify(result) } : {};
  return { stdout: summaryText(result), ...files };
}

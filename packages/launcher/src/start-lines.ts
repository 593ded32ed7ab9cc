/** Formats the output of `npm start`. */

const NAME_WIDTH = 12;
const WHAT_WIDTH = 44;
const FACT_WIDTH = 18;

/** "  redis       private (7.0.15), port 21234                 0.3 s" @param ms duration */
export function stepLine(name: string, what: string, ms?: number): string {
  const line = `  ${name.padEnd(NAME_WIDTH)}`;
  return line + (ms === undefined ? what : `${what.padEnd(WHAT_WIDTH)} ${(ms / 1000).toFixed(1).padStart(5)} s`);
}

export interface WelcomeFacts {
  readonly apiUrl: string;
  readonly adminUrl: string;
  /** How buyers identify themselves. */
  readonly buyers: 'jwt' | 'header';
  /** Undefined if the operator has set it: then it is not printed. */
  readonly adminToken: string | undefined;
  /** closed: one of the demo sales is over or sold out. */
  readonly demo: 'open' | 'closed' | 'none';
  /** Folder of the log files. */
  readonly logs: string;
}

export function welcome({ apiUrl, adminUrl, buyers, adminToken, demo, logs }: WelcomeFacts): string {
  const asBuyer = buyers === 'jwt' ? `-H "Authorization: Bearer $BUYER_TOKEN"` : "-H 'X-User-ID: alice'";
  const tryIt = [
    ...(buyers === 'jwt' ? ['To get a BUYER_TOKEN, see docs/operations.md, "Identity".'] : []),
    'Order one unit, then read the order with the order_id of the reply:',
    `  curl -X POST ${apiUrl}/api/flash-sales/product1/order ${asBuyer}`,
    `  curl ${apiUrl}/api/orders/<order_id> ${asBuyer}`,
    ...(demo === 'closed'
      ? ['A demo sale is over or sold out. To open both again, run in another terminal:', '  npm start -- --reopen']
      : []),
  ];
  const facts = {
    API: apiUrl,
    Reference: `${apiUrl}/docs`,
    Queues: `${adminUrl}/admin/queues (user admin, password: the operator's token)`,
    "Operator's token": adminToken ?? 'the ADMIN_TOKEN that you set',
    Logs: logs,
  };
  return [
    '',
    'The system is running.',
    ...Object.entries(facts).map(([name, what]) => `  ${name.padEnd(FACT_WIDTH)}${what}`),
    '',
    ...(demo === 'none' ? ['List the sales:', `  curl ${apiUrl}/api/flash-sales`] : tryIt),
    '',
    'Ctrl-C stops everything; the data is kept.',
  ].join('\n');
}

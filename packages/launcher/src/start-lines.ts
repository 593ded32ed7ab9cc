/** The lines that `npm start` prints: short, plain, aligned. */

export type Say = (line: string) => void;

const NAME_WIDTH = 12;
const WHAT_WIDTH = 44;
const FACT_WIDTH = 18;

/** "  redis       private (7.0.15), port 21234                 0.3 s" */
export function stepLine(name: string, what: string, duration = ''): string {
  return `  ${name.padEnd(NAME_WIDTH)}${duration === '' ? what : `${what.padEnd(WHAT_WIDTH)} ${duration}`}`;
}

const factLine = (name: string, what: string): string => `  ${name.padEnd(FACT_WIDTH)}${what}`;

/** @returns a function that says how long ago it was made: "0.3 s" */
export function stepTimer(): () => string {
  const startedAt = performance.now();
  return () => `${((performance.now() - startedAt) / 1000).toFixed(1).padStart(5)} s`;
}

export interface WelcomeFacts {
  readonly apiUrl: string;
  readonly adminUrl: string;
  /** How a buyer says who he is. */
  readonly buyers: 'jwt' | 'header';
  /** Undefined when whoever started us has set it, and so knows it. */
  readonly adminToken: string | undefined;
  readonly demo: boolean;
  /** false: a demo sale is over or sold out. */
  readonly demoIsOpen: boolean;
  /** Folder. */
  readonly logs: string;
}

export function welcome({ apiUrl, adminUrl, buyers, adminToken, demo, demoIsOpen, logs }: WelcomeFacts): string {
  const asBuyer = buyers === 'jwt' ? `-H "Authorization: Bearer $BUYER_TOKEN"` : "-H 'X-User-ID: alice'";
  const tryIt = demo
    ? [
        ...(buyers === 'jwt' ? ['A BUYER_TOKEN to try it with: docs/operations.md, "Identity".'] : []),
        'Order one unit, then read the order with the order_id of the reply:',
        `  curl -X POST ${apiUrl}/api/flash-sales/product1/order ${asBuyer}`,
        `  curl ${apiUrl}/api/orders/<order_id> ${asBuyer}`,
        ...(demoIsOpen
          ? []
          : [
              'A demo sale is over or sold out. This, in another terminal, opens both again:',
              '  npm start -- --reopen',
            ]),
      ]
    : ['See the sales:', `  curl ${apiUrl}/api/flash-sales`];
  return [
    '',
    'The system runs.',
    factLine('API', apiUrl),
    factLine('Reference', `${apiUrl}/docs`),
    factLine('Queues', `${adminUrl}/admin/queues (user admin, password: the operator's token)`),
    factLine("Operator's token", adminToken ?? 'the ADMIN_TOKEN that you set'),
    factLine('Logs', logs),
    '',
    ...tryIt,
    '',
    'Ctrl-C stops everything; the data is kept.',
  ].join('\n');
}

/** What buyers send, where it becomes part of a key, a statement, a line, a label or a page. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Family, mustHold, onlyThese, tally } from './attack.ts';
import { strangeKeys } from './known-keys.ts';
import type { Target } from './target.ts';

const NASTY: readonly string[] = [
  '*',
  '{x}',
  'a}:{b',
  '{system}',
  '{flash-sale}:confirm-orders:wait',
  'a:b:c',
  '|1|2|3|',
  "x'; DROP TABLE orders; --",
  "' OR '1'='1",
  '1; SELECT pg_sleep(5)',
  '$1',
  '\\x00',
  '__proto__',
  'constructor',
  'hasOwnProperty',
  'toString',
  '../../x',
  '%s%s%n',
  '#{7*7}',
  '{{7*7}}',
  '<script>alert(1)</script>',
  '"><img/src=x/onerror=alert(1)>',
  '\\u001b[31m',
  '","level":60,"msg":"forged',
  "redis.call('FLUSHALL')",
  '"} flash_sale_orders_total 1',
];

const CONTROLS = ['\r\nSET a b\r\n', '\n{"level":60}', '\0', '\x1b]0;x\x07', '\u202e', 'ａ', '\ud83d\ude00', '\u2028'];

/** Lines of the door `header`, parsed. @throws BrokenError where one is not JSON, or holds a control character */
function linesOf({ system }: Target): Record<string, unknown>[] {
  const files = readdirSync(system.folder).filter(
    (file) => file.startsWith('api-header.log') && !file.endsWith('.out'),
  );
  return files.flatMap((file) =>
    readFileSync(join(system.folder, file), 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => {
        mustHold(!/[\p{Cc}\p{Zl}\p{Zp}\u202e]/u.test(line), `a control character in a line: ${line.slice(0, 200)}`);
        try {
          return JSON.parse(line) as Record<string, unknown>;
        } catch {
          return mustHold(false, `a line that is no JSON: ${line.slice(0, 200)}`) as never;
        }
      }),
  );
}

async function countOf({ metricsUrl }: Target): Promise<number> {
  return (await (await fetch(metricsUrl)).text()).split('\n').filter((line) => line !== '').length;
}

export const injection: Family = {
  name: 'Injection',
  attacks: [
    {
      name: 'names of sales, orders, buyers and keys that mean something to Redis, SQL, Lua, JSON, HTML or a shell',
      bound: `${NASTY.length + CONTROLS.length} texts in 4 places`,
      holds: 'no key, no row, no line and no label of another kind is made; no fault (500)',
      async run(target) {
        const { order, doors, system } = target;
        const told: (string | number)[] = [];
        const note = async (asked: Promise<Response>): Promise<void> => {
          const response = await asked;
          const type = response.headers.get('content-type') ?? '';
          mustHold(/json/.test(type), `an answer is ${type}`);
          await response.arrayBuffer();
          told.push(response.status);
        };
        for (const text of [...NASTY, ...CONTROLS]) {
          const id = encodeURIComponent(text);
          await note(order({ 'x-user-id': 'inject' }, undefined, `/api/flash-sales/${id}/order`));
          await note(fetch(`${doors.header.url}/api/flash-sales/${id}`));
          await note(fetch(`${doors.header.url}/api/orders/${id}`, { headers: { 'x-user-id': 'inject' } }));
          if (/^[\x20-\x7e]+$/.test(text)) {
            await note(order({ 'x-user-id': text.replaceAll(' ', '_'), 'idempotency-key': text.replaceAll('"', '') }));
          }
        }
        onlyThese(told, [200, 400, 404, 422, 429]);
        const strange = await strangeKeys(system.redis);
        mustHold(strange.length === 0, `keys: ${JSON.stringify(strange)}`);
        const { rows } = await system.ledger.query(
          "SELECT count(*)::int AS count FROM pg_tables WHERE tablename = 'orders'",
        );
        mustHold(rows[0].count === 1, 'the table of orders is gone');
        return tally(told);
      },
    },
    {
      name: 'lines of the log forged by names, ids and paths',
      bound: `${NASTY.length} texts in 5 headers, a path and a query`,
      holds: 'every line is one JSON object of one line; no field and no word is taken over',
      async run(target) {
        const { order, doors } = target;
        for (const text of NASTY) {
          const value = text.replaceAll(' ', '_');
          await order({
            'x-user-id': value,
            'x-request-id': value,
            'user-agent': value,
            referer: value,
            traceparent: value,
          });
          await fetch(`${doors.header.url}/${encodeURIComponent(text)}?q=${encodeURIComponent(text)}`);
        }
        const lines = linesOf(target);
        mustHold(lines.length > 0, 'nothing was logged');
        mustHold(
          lines.every((line) => line.level !== 60 && line.msg !== 'forged'),
          'a line was forged',
        );
        return `${lines.length} lines, each one JSON object`;
      },
    },
    {
      name: 'labels of metrics made by paths, names, methods and codes',
      bound: '2,000 requests, each with words of its own',
      holds: 'as many series as before, but for the first of each kind',
      async run(target) {
        const { order, doors } = target;
        await order({ 'x-user-id': 'first' }, undefined, '/api/flash-sales/none/order');
        const before = await countOf(target);
        for (let i = 0; i < 500; i++) {
          await Promise.all([
            order({ 'x-user-id': `label-${i}` }, undefined, `/api/flash-sales/none-${i}/order`),
            fetch(`${doors.header.url}/made-up/${i}`, { method: i % 2 === 0 ? 'PUT' : 'PATCH' }),
            fetch(`${doors.header.url}/api/orders/none-${i}`, { headers: { 'x-user-id': `label-${i}` } }),
            fetch(`${doors.header.url}/api/flash-sales/none-${i}?x=${i}`),
          ]);
        }
        const grown = (await countOf(target)) - before;
        mustHold(grown < 100, `${grown} new series`);
        return `${grown} more lines at /metrics`;
      },
    },
    {
      name: 'bodies and queries that reach for prototypes, or are deep, wide, doubled or of another type',
      bound: '16, once each',
      holds: '400, 413 or 415; nothing of them is taken',
      async run({ order, doors, saleId }) {
        const bodies = [
          '{"__proto__":{"quantity":1000}}',
          '{"constructor":{"prototype":{"quantity":2}}}',
          '{"quantity":1,"__proto__":null}',
          '{"\\u005f_proto__":{"quantity":5}}',
          '{"quantity":{"$gt":0}}',
          '{"quantity":[1]}',
          '{"quantity":"1"}',
          '{"quantity":1e999}',
          '{"quantity":-0.0000001}',
          '{"quantity":9007199254740993}',
          '{"quantity":NaN}',
          `{"quantity":1${',"a":1'.repeat(2_000)}}`,
          '['.repeat(8_000),
          '{"quantity":1}{"quantity":2}',
          '\ufeff\ufeff{"quantity":1}',
          '"quantity"',
        ];
        const told: (string | number)[] = [];
        for (const body of bodies) {
          const response = await order({ 'x-user-id': 'proto', 'content-type': 'application/json' }, body);
          told.push(response.status);
        }
        onlyThese(told, [400, 413, 415]);
        const query = '?__proto__[quantity]=9&constructor[prototype][x]=1&__proto__.x=1';
        const response = await order({ 'x-user-id': 'proto' }, undefined, `/api/flash-sales/${saleId}/order${query}`);
        const { quantity } = (await response.json()) as { quantity?: number };
        mustHold(response.status !== 200 || quantity === 1, `the query made a quantity of ${quantity}`);
        for (const type of [
          'text/plain',
          'application/xml',
          'multipart/form-data; boundary=x',
          'application/json; charset=utf-7',
          'x'.repeat(5_000),
        ]) {
          const { status } = await order({ 'x-user-id': 'proto', 'content-type': type }, '<x/>');
          mustHold([400, 415].includes(status), `${type.slice(0, 40)}: ${status}`);
        }
        mustHold(
          (await fetch(`${doors.header.url}/api/flash-sales?${'a[]=1&'.repeat(1_500)}`)).status === 200,
          'a wide query',
        );
        return tally(told);
      },
    },
  ],
};

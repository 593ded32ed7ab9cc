/** Headers that are repeated, malformed, or claim what is not theirs to say. */
import { type Family, mustHold, onlyThese, tally } from './attack.ts';
import { request, sayRaw, statusesOf } from './raw-connection.ts';
import type { Target } from './target.ts';

const BAD_VALUES: readonly string[] = [
  '',
  ' ',
  'a b',
  'ann, bob',
  'ann\tbob',
  'ann\x7f',
  'ann\xe9',
  '\x1b[31mred',
  'a\u00a0b',
  '\xff\xfe',
  '%0d%0aX-Admin: 1',
  '$(id)',
  'x'.repeat(129),
  'x'.repeat(4_000),
];

async function orderRaw(
  { doors, saleId }: Target,
  headers: readonly string[],
  door: 'header' | 'secret' = 'header',
): Promise<string> {
  const all = [...headers, 'Connection: close'];
  return sayRaw(doors[door].port, request(`POST /api/flash-sales/${saleId}/order`, all), 3_000);
}

/** @returns what each was told */
async function eachOf(list: readonly string[], ask: (value: string) => Promise<string>): Promise<(number | 'cut')[]> {
  const told: (number | 'cut')[] = [];
  for (const value of list) told.push(statusesOf(await ask(value))[0] ?? 'cut');
  return told;
}

export const headers: Family = {
  name: 'Headers',
  attacks: [
    {
      name: 'X-User-ID twice, empty, with spaces, controls, other alphabets, too long',
      bound: `${BAD_VALUES.length + 1}, once each`,
      holds: '400 or 401: no first one and no last one wins; nothing but printable ASCII is a name',
      async run(target) {
        const told = await eachOf(BAD_VALUES, (value) => orderRaw(target, [`X-User-ID: ${value}`]));
        // Printable ASCII is a name, whatever it means elsewhere.
        const lawful = BAD_VALUES.filter((value) => /^[!-~]{1,128}$/.test(value)).length;
        mustHold(told.filter((status) => status === 200).length === lawful, `told ${tally(told)}`);
        const twice = statusesOf(await orderRaw(target, ['X-User-ID: ann', 'X-User-ID: bob']));
        onlyThese(twice, [400]);
        onlyThese(told, [200, 400, 401]);
        return `${tally([...told, ...twice])}; the ${lawful} that are names stay whole`;
      },
    },
    {
      name: 'Authorization twice, with another scheme, empty, cut, without a space, too long',
      bound: '12, once each',
      holds: '401',
      async run(target) {
        const good = await target.token('ann');
        const lists = [
          [`Authorization: Bearer ${good}`, 'Authorization: Bearer x'],
          ['Authorization: Bearer x', `Authorization: Bearer ${good}`],
          [`Authorization: ${good}`],
          [`Authorization: Bearer${good}`],
          [`Authorization: Basic ${good}`],
          [`Authorization: Bearer ${good} ${good}`],
          [`Authorization: Bearer ${good},${good}`],
          [`Authorization: Bearer "${good}"`],
          [`Authorization: Bearer ${good.slice(0, -3)}`],
          [`Authorization: Bearer ${'x'.repeat(12_000)}`],
          ['Authorization: Bearer'],
          [`Proxy-Authorization: Bearer ${good}`],
        ];
        const told: (string | number)[] = [];
        for (const list of lists) told.push(statusesOf(await orderRaw(target, list, 'secret'))[0] ?? 'cut');
        // Of two HTTP's own reader keeps the first one; whoever has a good token may send it beside another.
        onlyThese(told.slice(1), [401]);
        onlyThese(told.slice(0, 1), [200, 401]);
        return tally(told);
      },
    },
    {
      name: 'Idempotency-Key twice, empty, with quotes, controls, too long',
      bound: `${BAD_VALUES.length + 3}, once each`,
      holds: '400, or a key like any other',
      async run(target) {
        const values = [...BAD_VALUES, '"', '"a', '"a\\b"'];
        const told = await eachOf(values, (value) =>
          orderRaw(target, ['X-User-ID: keyed', `Idempotency-Key: ${value}`]),
        );
        onlyThese(told, [200, 400]);
        const twice = statusesOf(
          await orderRaw(target, ['X-User-ID: keyed', 'Idempotency-Key: a1', 'Idempotency-Key: a2']),
        );
        onlyThese(twice, [200, 400]);
        return tally([...told, ...twice]);
      },
    },
    {
      name: 'traceparent and X-Request-Id: malformed, twice, with controls, too long',
      bound: `2 × ${BAD_VALUES.length + 2}, once each`,
      holds: 'another id is made; the order is served',
      async run(target) {
        const values = [
          ...BAD_VALUES,
          '00-00000000000000000000000000000000-0000000000000000-01',
          'ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
        ];
        const ask = (name: string) => (value: string) =>
          orderRaw(target, ['X-User-ID: traced', `${name}: ${value}`, `${name}: again`]);
        const told = [...(await eachOf(values, ask('traceparent'))), ...(await eachOf(values, ask('X-Request-Id')))];
        // 400 is Node's own word for a control character.
        onlyThese(told, [200, 400]);
        return tally(told);
      },
    },
    {
      name: 'X-Forwarded-For, Forwarded, X-Real-IP, X-Forwarded-Host made up',
      bound: '300 requests with 300 addresses, and 8 forms',
      holds: 'nobody is another address; none of them reaches an answer',
      async run({ order, doors, saleId }) {
        const forms = ['127.0.0.1', '::1', 'unknown', '"><script>', '1.2.3.4, 5.6.7.8', "';--", '\t', '999.1.1.1'];
        const told: number[] = [];
        for (let i = 0; i < 300; i++) {
          const form = forms[i % forms.length] as string;
          const response = await order({
            'x-user-id': `forwarded-${i}`,
            'x-forwarded-for': i % 2 === 0 ? `10.0.${i % 256}.1` : form,
            'x-real-ip': form,
            forwarded: 'for=127.0.0.1;host=evil.example',
            'x-forwarded-host': 'evil.example',
          });
          mustHold(!(await response.text()).includes('evil.example'), 'a made-up host stands in an answer');
          told.push(response.status);
        }
        const said = await sayRaw(
          doors.header.port,
          `GET /docs HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: evil.example\r\nConnection: close\r\n\r\n`,
        );
        mustHold(!said.includes('evil.example'), 'the host that was sent stands in a page or a redirect');
        const hosts = await sayRaw(
          doors.header.port,
          `POST /api/flash-sales/${saleId}/order HTTP/1.1\r\nHost: a\r\nHost: b\r\nX-User-ID: h\r\nConnection: close\r\n\r\n`,
        );
        onlyThese(told, [200, 429]);
        return `${tally(told)}; two hosts: ${statusesOf(hosts)[0] ?? 'cut'}`;
      },
    },
    {
      name: 'headers that override: X-HTTP-Method-Override, X-Original-URL, X-Rewrite-URL, X-User-ID beside a token',
      bound: '6, once each',
      holds: 'they change nothing',
      async run({ doors, saleId, token }) {
        for (const name of [
          'X-HTTP-Method-Override: DELETE',
          'X-Method-Override: PUT',
          'X-Original-URL: /api/admin/sales',
          'X-Rewrite-URL: /api/admin/sales',
          'X-Forwarded-Prefix: /api/admin',
        ]) {
          const said = await sayRaw(doors.header.port, request('GET /health/live', [name, 'Connection: close']));
          mustHold(said.includes('{"status":"ok"}'), `${name} changed the answer`);
        }
        const url = `${doors.secret.url}/api/flash-sales/${saleId}/order`;
        const [ann, bob] = [await token('over-ann'), await token('over-bob')];
        const placed = await fetch(url, {
          method: 'POST',
          headers: { authorization: `Bearer ${ann}`, 'x-user-id': 'over-bob' },
        });
        const { order_id: id } = (await placed.json()) as { order_id: string };
        const read = await fetch(`${doors.secret.url}/api/orders/${id}`, {
          headers: { authorization: `Bearer ${bob}` },
        });
        mustHold(read.status === 404, 'X-User-ID decided beside a token');
        return 'nothing changed';
      },
    },
  ],
};

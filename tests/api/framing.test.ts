/** Requests that two servers could read differently are refused; what is empty is empty. */
import { beforeAll, describe, expect, test } from 'vitest';
import { useApi, useWorld } from '../support/fixtures.ts';
import { request, sendRaw } from '../support/raw-connection.ts';
import { makeSale } from '../support/sales.ts';

const UNITS = 1_000_000;
const world = useWorld();
const api = useApi(world);
let saleId: string;
beforeAll(async () => {
  saleId = (await makeSale(world, { units: UNITS })).id;
});

const CHUNKED = 'Transfer-Encoding: chunked';
const JSON_TYPE = 'Content-Type: application/json';
const order = (headers: readonly string[], body = '') =>
  request(`POST /api/flash-sales/${saleId}/order`, ['X-User-ID: ann', ...headers], body);
const sized = (body: string) => `Content-Length: ${Buffer.byteLength(body, 'latin1')}`;
/** Answered behind every request that does not end its connection. */
const LAST = request('GET /health/live', ['Connection: close']);
const send = (text: string) => sendRaw(Number(new URL(api.url).port), text + LAST, 10_000);

/** Status and code of each response, and whether its connection ends. */
async function answersTo(text: string): Promise<string> {
  const received = await send(text);
  const answers = received.split(/(?=HTTP\/1\.1 \d{3} )/).map((answer) => {
    const [status, rest] = [answer.slice(9, 12), answer.slice(12)];
    if (status !== '200' && status !== '100') expect(rest, text).toContain('content-type: application/problem+json');
    return [status, /"code":"(\w+)"/.exec(rest)?.[1], /connection: close/i.test(rest) ? 'close' : null];
  });
  if (received.endsWith('{"status":"ok"}')) answers.pop();
  return answers.map((parts) => parts.filter(Boolean).join(' ')).join(', ');
}

const REFUSED = '400 INVALID_REQUEST close';

describe('framing', () => {
  const BODY = '{"quantity":1}';
  const utf16 = Buffer.from(BODY, 'utf16le').toString('latin1');
  const cases: Record<string, [answer: string, text: () => string]> = {
    'no host': [REFUSED, () => order([]).replace('Host: a\r\n', '')],
    'a coding in front of chunked': [REFUSED, () => order(['Transfer-Encoding: x', CHUNKED], '0\r\n\r\n')],
    'a coding and chunked in one line': [REFUSED, () => order(['Transfer-Encoding: gzip, chunked'], '0\r\n\r\n')],
    'HTTP/1.0 with chunked': [REFUSED, () => order([CHUNKED], '0\r\n\r\n').replace('HTTP/1.1', 'HTTP/1.0')],
    'HTTP/2.0 in text': [REFUSED, () => order([]).replace('HTTP/1.1', 'HTTP/2.0')],
    'an unknown expectation': ['417 EXPECTATION_FAILED close', () => order(['Expect: lunch'])],
    'an expectation of a buyer': ['100, 200', () => order(['Expect: 100-continue', JSON_TYPE, sized(BODY)], BODY)],
    'an expectation of nobody': [
      '401 BUYER_REQUIRED close',
      () => request('POST /api/flash-sales/x/order', ['Expect: 100-continue', JSON_TYPE, sized(BODY)]),
    ],
    'an expectation in HTTP/1.0': ['200 close', () => order(['Expect: x']).replace('HTTP/1.1', 'HTTP/1.0')],
    'an upgrade, and requests behind it': [
      '200 close',
      () => order(['Connection: Upgrade', 'Upgrade: a']) + order(['Content-Length: 99'], order([])),
    ],
    'an upgrade with a body': [
      '200 close',
      () => order(['Connection: Upgrade', 'Upgrade: h2c', JSON_TYPE, sized(BODY)], BODY),
    ],
    'a compressed body': [
      '415 UNSUPPORTED_MEDIA_TYPE close',
      () => order([JSON_TYPE, 'Content-Encoding: gzip', sized(BODY)], BODY),
    ],
    'a body that says it is not compressed': [
      '200',
      () => order([JSON_TYPE, 'Content-Encoding: identity', sized(BODY)], BODY),
    ],
    'another charset': [
      '415 UNSUPPORTED_MEDIA_TYPE close',
      () => order([`${JSON_TYPE}; charset=utf-16`, sized(utf16)], utf16),
    ],
    'another charset in quotes': [
      '415 UNSUPPORTED_MEDIA_TYPE close',
      () => order([`${JSON_TYPE};a=b; Charset="ISO-8859-1"`, sized(BODY)], BODY),
    ],
    'the charset': ['200', () => order([`${JSON_TYPE}; charset="UTF-8"`, sized(BODY)], BODY)],
    'bytes that are not UTF-8': ['400 INVALID_REQUEST', () => order([JSON_TYPE, sized('{"a\xff":1}')], '{"a\xff":1}')],
    'broken JSON': ['400 INVALID_REQUEST', () => order([JSON_TYPE, sized('{"quantity"')], '{"quantity"')],
    'null for a body': ['400 INVALID_REQUEST', () => order([JSON_TYPE, sized('null')], 'null')],
    'a form': [
      '415 UNSUPPORTED_MEDIA_TYPE close',
      () => order(['Content-Type: application/x-www-form-urlencoded', sized('quantity=1')], 'quantity=1'),
    ],
    'a long body': ['413 BODY_TOO_LARGE close', () => order([JSON_TYPE, 'Content-Length: 20000'])],
    'a long chunk extension': [
      '413 BODY_TOO_LARGE close',
      () => order([JSON_TYPE, CHUNKED], `1;${'x'.repeat(20_000)}\r\n{\r\n0\r\n\r\n`),
    ],
    'a long address': ['414 URI_TOO_LONG close', () => request(`GET /${'x'.repeat(20_000)}`)],
    'a long header': ['431 HEADERS_TOO_LARGE close', () => order([`X-A: ${'x'.repeat(20_000)}`])],
    'bytes that are no request': [REFUSED, () => 'hello\r\n\r\n'],
    'a path that cannot be decoded': ['400 INVALID_REQUEST', () => request('GET /%zz')],
  };

  test.each(Object.entries(cases))('%s', async (_what, [answer, text]) => expect(await answersTo(text())).toBe(answer));
});

describe('a header with one value', () => {
  test.each([
    'Authorization: Bearer a',
    'Content-Encoding: identity',
    'Content-Type: application/json',
    'Host: a',
    'Idempotency-Key: k1',
    'If-Modified-Since: Thu, 01 Jan 2026 00:00:00 GMT',
    'Origin: https://shop.example',
    'Transfer-Encoding: chunked',
    'X-Request-Id: r1',
    'X-User-ID: ann',
  ])('that is repeated takes nothing: %s', async (header) => {
    const before = await api.available(saleId);
    const name = header.split(':')[0] as string;
    const others = ['X-User-ID: ann'].filter((other) => !other.startsWith(name));
    const body = name === 'Transfer-Encoding' ? '0\r\n\r\n' : '';
    const repeated = [header, header.replace(name, name.toLowerCase())];
    const text = request(`POST /api/flash-sales/${saleId}/order`, [...others, ...repeated], body);
    expect(await answersTo(text)).toBe(REFUSED);
    expect(await api.available(saleId)).toBe(before);
  });

  test('may stand beside lists that are repeated', async () => {
    // More than one traceparent counts as none (W3C Trace Context).
    const names = ['Accept', 'Cookie', 'X-Forwarded-For', 'Via', 'X-Anything', 'traceparent'];
    const lists = names.map((name) => `${name}: a`);
    expect(await answersTo(order([...lists, ...lists]))).toBe('200');
  });
});

test.each([
  ['a form without bytes', ['Content-Type: application/x-www-form-urlencoded', 'Content-Length: 0'], ''],
  ['chunks without bytes', [CHUNKED], '0\r\n\r\n'],
  ['chunks without bytes, with a type', [CHUNKED, 'Content-Type: text/plain'], '0\r\n\r\n'],
  ['JSON chunks without bytes', [CHUNKED, JSON_TYPE], '0\r\n\r\n'],
  ['a type that is none', ['Content-Type: '], ''],
  ['a compressed nothing', ['Content-Encoding: gzip', 'Content-Length: 0'], ''],
])('empty is empty: %s is an order of one unit', async (_what, headers, body) => {
  expect(await send(order(headers, body))).toContain('"quantity":1');
});

/** What an attacker who reaches the port may try: framing, headers, paths, floods. */
import { beforeAll, describe, expect, test } from 'vitest';
import { BEARER, useApi, useWorld, withApi } from '../support/fixtures.ts';
import { request, sendRaw, statusesOf } from '../support/raw-connection.ts';
import { makeSale } from '../support/sales.ts';

const world = useWorld();
const api = useApi(world);
/** Its operators have a port of their own: their routes do not exist here. */
const buyersOnly = useApi(world, () => ({ ADMIN_PORT: 5_999 }));
const portOf = ({ url }: { url: string }): number => Number(new URL(url).port);
let port: number;
let saleId: string;

beforeAll(async () => {
  port = portOf(api);
  saleId = (await makeSale(world, { units: 1_000_000 })).id;
});

type Status = number | 'closed';

/** Sends all, each on its own connection. @returns responses that fail the check, by name */
async function sendAll(
  requests: Readonly<Record<string, string>>,
  check: (statuses: number[], received: string) => boolean,
  to = port,
): Promise<Record<string, string>> {
  const wrong: Record<string, string> = {};
  await Promise.all(
    Object.entries(requests).map(async ([name, text]) => {
      const received = await sendRaw(to, text);
      if (!check(statusesOf(received), received)) wrong[name] = received.slice(0, 300);
    }),
  );
  return wrong;
}
const isOneOf =
  (...allowed: Status[]) =>
  ([status = 'closed', ...more]: Status[]): boolean =>
    allowed.includes(status) && more.length === 0;
const byName = (list: readonly string[], make: (value: string) => string): Record<string, string> =>
  Object.fromEntries(list.map((value) => [value.slice(0, 60), make(value)]));
const available = async () => (await api.available(saleId)) ?? 0;

describe('framing', () => {
  /** A second request in what may be read as the body of the first one. */
  const INNER = request('GET /health/live');
  const CHUNKED = 'Transfer-Encoding: chunked';
  const JSON_TYPE = 'Content-Type: application/json';
  const post = (headers: readonly string[], body: string) =>
    request('POST /api/flash-sales/none/order', ['X-User-ID: mallory', ...headers], body);

  test('no request is smuggled behind another: one refusal at most, and nothing after it is read', async () => {
    const requests = {
      'two lengths': post(['Content-Length: 5', 'Content-Length: 6'], 'hello!'),
      'two lengths in one line': post(['Content-Length: 5, 6'], 'hello!'),
      'the same length twice in one line': post(['Content-Length: 5, 5'], `hello${INNER}`),
      'length and chunks': post(['Content-Length: 4', CHUNKED], `0\r\n\r\n${INNER}`),
      'chunks and length': post([CHUNKED, 'Content-Length: 4'], `0\r\n\r\n${INNER}`),
      'misspelled chunks': post(['Transfer-Encoding: xchunked', 'Content-Length: 4'], `0\r\n\r\n${INNER}`),
      'two encodings': post([CHUNKED, 'Transfer-Encoding: identity'], `0\r\n\r\n${INNER}`),
      'chunked is not last': post(['Transfer-Encoding: chunked, identity'], `0\r\n\r\n${INNER}`),
      'chunked behind a tab': post(['Transfer-Encoding:\tchunked', 'Content-Length: 4'], `0\r\n\r\n${INNER}`),
      'chunked behind a vertical tab': post(
        ['Transfer-Encoding:\x0bchunked', 'Content-Length: 4'],
        `0\r\n\r\n${INNER}`,
      ),
      'chunked in a folded line': post(['Transfer-Encoding:\r\n chunked', 'Content-Length: 4'], `0\r\n\r\n${INNER}`),
      'length with a plus': post(['Content-Length: +5'], `hello${INNER}`),
      'negative length': post(['Content-Length: -5'], `hello${INNER}`),
      'hexadecimal length': post(['Content-Length: 0x5'], `hello${INNER}`),
      'length beyond 64 bits': post(['Content-Length: 18446744073709551620'], 'hello'),
      'invalid chunk length': post([CHUNKED], 'zz\r\nhello\r\n0\r\n\r\n'),
      'chunk length beyond 64 bits': post([CHUNKED], 'fffffffffffffffff\r\nhello\r\n0\r\n\r\n'),
      'negative chunk length': post([CHUNKED], '-1\r\nhello\r\n0\r\n\r\n'),
      'chunks with bare line feeds': post([CHUNKED], `5\nhello\n0\n\n${INNER}`),
      'chunk longer than declared': post([CHUNKED], `2\r\nhello\r\n0\r\n\r\n${INNER}`),
      'space before the colon': request('GET /health/live', ['Content-Length : 5'], 'hello'),
      'folded header': request('GET /health/live', ['X-User-ID: ann\r\n bob']),
      'bare carriage return in a header': request('GET /health/live', ['X-A: b\rContent-Length: 5'], 'hello'),
      'zero byte in a header': request('GET /health/live', ['X-A: b\0c']),
      'no colon': request('GET /health/live', ['X-A']),
      'no header name': request('GET /health/live', [': x']),
      'no host': 'GET /health/live HTTP/1.1\r\n\r\n',
    };
    const isRefused = isOneOf(400, 401, 404, 413, 415, 'closed');
    const check = (statuses: number[], received: string) =>
      isRefused(statuses) && !received.includes('{"status":"ok"}');
    expect(await sendAll(requests, check)).toEqual({});
  });

  test('other protocols are not spoken', async () => {
    const requests = {
      'HTTP/2 with prior knowledge': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0',
      TLS: '\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03',
      Redis: '*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n',
      'HTTP/3.7': 'GET /health/live HTTP/3.7\r\nHost: a\r\n\r\n',
      'zero bytes': '\0'.repeat(10_000),
      'unknown method': request('STEAL /api/flash-sales'),
      CONNECT: 'CONNECT 127.0.0.1:6379 HTTP/1.1\r\nHost: a\r\n\r\n',
      'unknown expectation': request('POST /health/live', ['Expect: 200-free-lunch', 'Content-Length: 5']),
    };
    expect(await sendAll(requests, isOneOf(400, 404, 417, 'closed'))).toEqual({});
    const upgrades = {
      'HTTP/2': ['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABk'],
      'a web socket': ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13'],
    };
    for (const [name, headers] of Object.entries(upgrades))
      expect(await sendRaw(port, request('GET /health/live', headers)), name).not.toContain('101 Switching');
  });

  test('what is too long is refused: path, header, chunk extension, trailer', async () => {
    const long = 'x'.repeat(1e6);
    const requests = {
      path: request(`GET /${long}`),
      header: request('GET /health/live', [`X-A: ${long}`]),
      headers: request(
        'GET /health/live',
        Array.from({ length: 100_000 }, (_, i) => `X-${i}: y`),
      ),
      'chunk extension': post([JSON_TYPE, CHUNKED], `1;${long}\r\n{\r\n0\r\n\r\n`),
      trailer: post([JSON_TYPE, CHUNKED], `0\r\nX-A: ${long}\r\n\r\n`),
    };
    expect(await sendAll(requests, isOneOf(400, 404, 413, 414, 431, 'closed'))).toEqual({});
  });

  test.each([
    ['a request that was answered before its body was complete', 'POST /nothing', [CHUNKED], 'zz\r\n'],
    ['a request in progress', 'GET /api/orders/x', ['X-User-ID: ann'], 'zz\r\n\r\n'],
  ])('unreadable bytes behind %s bring no second response', async (_what, line, headers, rest) => {
    const received = await sendRaw(port, request(line, headers, rest));
    expect(received).not.toContain('400 Bad Request');
    expect(statusesOf(received).length).toBeLessThanOrEqual(1);
  });

  test.each(['/%zz', '/api/orders/%', `/api/flash-sales/${'x'.repeat(200)}`])(
    'a path that cannot be parsed is counted, and its refusal is not cached: %s',
    async (path) => {
      await withApi(world, {}, async (own) => {
        const { headers, body } = await own.get(path);
        expect(headers.get('cache-control')).toBe('private, no-store');
        expect(headers.get('x-content-type-options')).toBe('nosniff');
        expect(await own.metrics()).toContain(`flash_sale_refusals_total{code="${body.code}"} 1`);
      });
    },
  );
});

describe('headers', () => {
  const VALUES = [
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
  const place = (...headers: string[]) =>
    request(`POST /api/flash-sales/${saleId}/order`, [...headers, 'Connection: close']);

  test('only printable ASCII of up to 128 characters is a buyer; of two names none wins', async () => {
    const isBuyer = (value: string) => /^[!-~]{1,128}$/.test(value);
    const make = (value: string) => place(`X-User-ID: ${value}`);
    const before = await available();
    expect(await sendAll(byName(VALUES.filter(isBuyer), make), isOneOf(200))).toEqual({});
    const others = byName(
      VALUES.filter((value) => !isBuyer(value)),
      make,
    );
    const refused = { ...others, twice: place('X-User-ID: ann', 'X-User-ID: bob') };
    expect(await sendAll(refused, isOneOf(400, 401))).toEqual({});
    expect(await available()).toBe(before - VALUES.filter(isBuyer).length);
  });

  test('a malformed Idempotency-Key is a key or a 400', async () => {
    const keyed = byName([...VALUES, '"', '"a', '"a\\b"'], (value) =>
      place('X-User-ID: keyed', `Idempotency-Key: ${value}`),
    );
    expect(await sendAll(keyed, isOneOf(200, 400))).toEqual({});
  });

  test.each(['traceparent', 'X-Request-Id'])('a malformed %s refuses no order', async (name) => {
    const trace = [
      '00-00000000000000000000000000000000-0000000000000000-01',
      'ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
    ];
    const traced = byName([...VALUES, ...trace], (value) => place('X-User-ID: traced', `${name}: ${value}`));
    // 400: Node refuses control characters.
    expect(await sendAll(traced, isOneOf(200, 400))).toEqual({});
  });

  test('a made-up host or forwarding header reaches no response', async () => {
    const made = ['X-Forwarded-Host: evil.example', 'Forwarded: for=127.0.0.1;host=evil.example'];
    const requests = {
      order: place('X-User-ID: ann', ...made),
      page: `GET /docs HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: evil.example\r\nConnection: close\r\n\r\n`,
    };
    expect(await sendAll(requests, (_statuses, received) => !received.includes('evil.example'))).toEqual({});
  });

  test('no header overrides method or path', async () => {
    const overrides = [
      'X-HTTP-Method-Override: DELETE',
      'X-Method-Override: PUT',
      'X-Original-URL: /api/admin/sales',
      'X-Rewrite-URL: /api/admin/sales',
      'X-Forwarded-Prefix: /api/admin',
    ];
    const requests = byName(overrides, (header) => request('GET /health/live', [header, 'Connection: close']));
    expect(await sendAll(requests, (_statuses, received) => received.includes('{"status":"ok"}'))).toEqual({});
  });
});

describe('paths', () => {
  /** Other spellings of a path. */
  function spellingsOf(path: string): string[] {
    const [, first = '', ...rest] = path.split('/');
    const tail = rest.join('/');
    const hex = (text: string): string => [...text].map((one) => `%${one.charCodeAt(0).toString(16)}`).join('');
    const before = ['/', '//a', '/.', '/x/..', '/health/../..', '/health/..;', '*'];
    const hosts = ['http://127.0.0.1', 'http://evil.example'];
    const after = ['/', '//', ';a=b', '%00', '%20', '%2f', '.json', '?', '#'];
    const between = ['%2f', '%252f', '%5c', '\\', '/%2e/', '/x/%2e%2e/', '/x/%252e%252e/', '%c0%af', '%ef%bc%8f'];
    return [
      path.toUpperCase(),
      ...[...before, ...hosts].map((prefix) => prefix + path),
      ...after.map((suffix) => path + suffix),
      ...between.map((slash) => `/${first}${slash}${tail}`),
      `/${hex(first)}/${tail}`,
      `/${first}/${hex(hex(tail)).slice(0, 2_000)}`,
    ];
  }
  const get = (path: string) => request(`GET ${path}`, ['X-User-ID: ann', 'Connection: close']);

  test.each(['/api/admin/sales', '/api/admin/orders/x', '/admin/queues', '/admin/queues/api/queues', '/metrics'])(
    'no spelling of %s passes the operator’s token, or reaches it on the buyers’ port',
    async (path) => {
      const requests = byName([path, ...spellingsOf(path)], get);
      expect(await sendAll(requests, isOneOf(400, 401, 404, 'closed'))).toEqual({});
      expect(await sendAll(requests, isOneOf(400, 404, 'closed'), portOf(buyersOnly))).toEqual({});
    },
  );

  test('no path leads out of the folders of the API reference and the board', async () => {
    const up = ['../', '..%2f', '%2e%2e/', '%2e%2e%2f', '..%5c', '%252e%252e%252f', '..%c0%af', '....//', '..;/'];
    const files = ['package.json', '.env', 'etc/passwd', 'proc/self/environ'];
    const found = ['/docs/static/', '/admin/queues/static/'].flatMap((folder) =>
      up.flatMap((one) => files.flatMap((file) => [3, 9].map((deep) => folder + one.repeat(deep) + file))),
    );
    const requests = Object.fromEntries(
      found.map((path) => [
        path,
        request(`GET ${path}`, [`Authorization: ${BEARER.authorization}`, 'Connection: close']),
      ]),
    );
    const isInside = (statuses: number[], received: string) =>
      statuses.every((status) => status < 500) && !/root:x:|"flash-sale"|TEST_REDIS_URL=|PATH=\//.test(received);
    expect(await sendAll(requests, isInside)).toEqual({});
  });

  test('other methods change nothing and echo nothing', async () => {
    const methods = ['PUT', 'PATCH', 'DELETE', 'OPTIONS', 'HEAD', 'TRACE', 'PROPFIND', 'SEARCH'];
    const paths = [
      '/api/flash-sales',
      `/api/flash-sales/${saleId}`,
      `/api/flash-sales/${saleId}/order`,
      '/health/live',
    ];
    const requests = byName(
      methods.flatMap((method) => paths.map((path) => `${method} ${path}`)),
      (line) => request(line, ['X-User-ID: ann', 'X-Secret: echo-me', 'Connection: close']),
    );
    const before = await available();
    const isAllowed = isOneOf(200, 400, 404, 405, 'closed');
    const check = (statuses: number[], received: string) => isAllowed(statuses) && !received.includes('echo-me');
    expect(await sendAll(requests, check)).toEqual({});
    expect(await available()).toBe(before);
  });
});

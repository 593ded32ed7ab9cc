/** What is no HTTP, or two readings of one request: smuggling, chunks, sizes, other protocols. */
import { type Family, mustHold, onlyThese, tally } from './attack.ts';
import { request, sayRaw, statusesOf } from './raw-connection.ts';

/** A second request in what may be taken for the body of the first one. */
const INNER = 'GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n';

const post = (headers: readonly string[], body: string): string =>
  request('POST /api/flash-sales/none/order', ['X-User-ID: mallory', ...headers], body);

const SMUGGLED: Readonly<Record<string, string>> = {
  'two lengths': post(['Content-Length: 5', 'Content-Length: 6'], 'hello!'),
  'two lengths in one line': post(['Content-Length: 5, 6'], 'hello!'),
  'the same length twice in one line': post(['Content-Length: 5, 5'], `hello${INNER}`),
  'a length and chunks': post(['Content-Length: 4', 'Transfer-Encoding: chunked'], `0\r\n\r\n${INNER}`),
  'chunks and a length': post(['Transfer-Encoding: chunked', 'Content-Length: 4'], `0\r\n\r\n${INNER}`),
  'chunks, misspelled': post(['Transfer-Encoding: xchunked', 'Content-Length: 4'], `0\r\n\r\n${INNER}`),
  'chunks, named twice': post(['Transfer-Encoding: chunked', 'Transfer-Encoding: identity'], `0\r\n\r\n${INNER}`),
  'chunks are not last': post(['Transfer-Encoding: chunked, identity'], `0\r\n\r\n${INNER}`),
  'chunks behind a tab': post(['Transfer-Encoding:\tchunked', 'Content-Length: 4'], `0\r\n\r\n${INNER}`),
  'chunks behind a vertical tab': post(['Transfer-Encoding:\x0bchunked', 'Content-Length: 4'], `0\r\n\r\n${INNER}`),
  'chunks in a folded line': post(['Transfer-Encoding:\r\n chunked', 'Content-Length: 4'], `0\r\n\r\n${INNER}`),
  'a length with a plus': post(['Content-Length: +5'], `hello${INNER}`),
  'a negative length': post(['Content-Length: -5'], `hello${INNER}`),
  'a length in hexadecimal': post(['Content-Length: 0x5'], `hello${INNER}`),
  'a length beyond 64 bits': post(['Content-Length: 18446744073709551620'], 'hello'),
  'a chunk’s length that is none': post(['Transfer-Encoding: chunked'], 'zz\r\nhello\r\n0\r\n\r\n'),
  'a chunk’s length beyond 64 bits': post(['Transfer-Encoding: chunked'], 'fffffffffffffffff\r\nhello\r\n0\r\n\r\n'),
  'a negative chunk': post(['Transfer-Encoding: chunked'], '-1\r\nhello\r\n0\r\n\r\n'),
  'chunks that end with a bare line feed': post(['Transfer-Encoding: chunked'], `5\nhello\n0\n\n${INNER}`),
  'a chunk longer than it says': post(['Transfer-Encoding: chunked'], `2\r\nhello\r\n0\r\n\r\n${INNER}`),
  'a space before the colon': request('GET /health/live', ['Content-Length : 5'], 'hello'),
  'a header with a bare carriage return': request('GET /health/live', ['X-A: b\rContent-Length: 5'], 'hello'),
  'a zero byte in a header': request('GET /health/live', ['X-A: b\0c']),
  'no colon': request('GET /health/live', ['X-A']),
  'no name': request('GET /health/live', [': x']),
  'no host': 'GET /health/live HTTP/1.1\r\n\r\n',
};

const OTHER_PROTOCOLS: Readonly<Record<string, string>> = {
  'HTTP/2, with prior knowledge': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0',
  TLS: '\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03',
  Redis: '*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n',
  'HTTP/0.9': 'GET /health/live\r\n\r\n',
  'HTTP/0.9, and then HTTP/1.1': 'GET /health/live\nX: y HTTP/1.1\r\nHost: a\r\n\r\n',
  'HTTP/3.7': 'GET /health/live HTTP/3.7\r\nHost: a\r\n\r\n',
  'zero bytes': '\0'.repeat(10_000),
  'an unknown method': request('STEAL /api/flash-sales'),
};

const SIZES: Readonly<Record<string, string>> = {
  'a path of 1 MB': request(`GET /${'x'.repeat(1e6)}`),
  'a header of 1 MB': request('GET /health/live', [`X-A: ${'x'.repeat(1e6)}`]),
  '100,000 headers': request(
    'GET /health/live',
    Array.from({ length: 100_000 }, (_, i) => `X-${i}: y`),
  ),
  'a body of 10 GB, by its word': post(['Content-Type: application/json', 'Content-Length: 10000000000'], '{'),
  'a chunk of 1 MB': post(
    ['Content-Type: application/json', 'Transfer-Encoding: chunked'],
    `F4240\r\n${'x'.repeat(1e6)}\r\n0\r\n\r\n`,
  ),
  'an extension of a chunk of 1 MB': post(
    ['Content-Type: application/json', 'Transfer-Encoding: chunked'],
    `1;${'x'.repeat(1e6)}\r\n{\r\n0\r\n\r\n`,
  ),
  'trailers of 1 MB': post(
    ['Content-Type: application/json', 'Transfer-Encoding: chunked'],
    `0\r\nX-A: ${'x'.repeat(1e6)}\r\n\r\n`,
  ),
};

export const framing: Family = {
  name: 'Framing',
  attacks: [
    {
      name: 'requests smuggled behind another one',
      bound: `${Object.keys(SMUGGLED).length} ways at two doors, once each`,
      holds: 'at most one answer, and it is a refusal: the second request is never read as one',
      async run({ doors }) {
        const told: (string | number)[] = [];
        for (const port of [doors.header.port, doors.secret.port]) {
          for (const [way, text] of Object.entries(SMUGGLED)) {
            const said = await sayRaw(port, text, 400);
            const answers = statusesOf(said);
            // A request that is whole, and whose length both readings agree on, may be followed by another one.
            mustHold(answers.length <= 1, `${way}: ${answers.length} answers`);
            mustHold(!said.includes('{"status":"ok"}'), `${way}: the second request was answered`);
            told.push(answers[0] ?? 'cut');
          }
        }
        // Of a body of no type 415 is said before it is read.
        onlyThese(told, [400, 401, 404, 413, 415, 'cut']);
        return tally(told);
      },
    },
    {
      name: 'other protocols: HTTP/2, TLS, Redis, HTTP/0.9',
      bound: `${Object.keys(OTHER_PROTOCOLS).length}, once each`,
      holds: '400, 404 or cut; HTTP/0.9, which is lawful, is answered as HTTP',
      async run({ doors }) {
        const told: (string | number)[] = [];
        for (const [protocol, text] of Object.entries(OTHER_PROTOCOLS)) {
          const status = statusesOf(await sayRaw(doors.header.port, text, 400))[0] ?? 'cut';
          if (status === 200) mustHold(protocol.startsWith('HTTP/0.9'), `${protocol} was answered with 200`);
          told.push(status);
        }
        onlyThese(told, [200, 400, 404, 'cut']);
        return tally(told);
      },
    },
    {
      name: 'an upgrade to HTTP/2 or a web socket, CONNECT, Expect',
      bound: '4, once each',
      holds: 'no other protocol is spoken, nothing is connected',
      async run({ doors }) {
        const texts = [
          request('GET /health/live', [
            'Connection: Upgrade, HTTP2-Settings',
            'Upgrade: h2c',
            'HTTP2-Settings: AAMAAABk',
          ]),
          request('GET /health/live', ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13']),
          'CONNECT 127.0.0.1:6379 HTTP/1.1\r\nHost: a\r\n\r\n',
          request('POST /health/live', ['Expect: 200-free-lunch', 'Content-Length: 5']),
        ];
        const told: (string | number)[] = [];
        for (const text of texts) told.push(statusesOf(await sayRaw(doors.header.port, text, 400))[0] ?? 'cut');
        onlyThese(told, [200, 400, 404, 417, 'cut']);
        return tally(told);
      },
    },
    {
      name: 'paths, headers, bodies, chunks and trailers that are too long',
      bound: `${Object.keys(SIZES).length} of up to 1 MB, 20 times each`,
      holds: '413, 414 or 431, or cut; nothing of it is kept',
      async run({ doors, residentMb }) {
        const before = residentMb('header');
        const told: (string | number)[] = [];
        for (const [what, text] of Object.entries(SIZES)) {
          const said = await Promise.all(Array.from({ length: 20 }, () => sayRaw(doors.header.port, text, 1_500)));
          for (const answer of said) {
            const status = statusesOf(answer)[0] ?? 'cut';
            mustHold([400, 404, 413, 414, 431, 'cut'].includes(status), `${what}: ${status}`);
            told.push(status);
          }
        }
        const grown = residentMb('header') - before;
        mustHold(grown < 200, `the process has grown by ${grown.toFixed(0)} MB`);
        return tally(told);
      },
    },
  ],
};

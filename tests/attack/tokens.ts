/** Bearer tokens: forged, confused, expired, endless; and the host of their keys. */
import { createHmac, generateKeyPairSync } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, exportSPKI, importJWK, type JWK, SignJWT } from 'jose';
import { AUDIENCE, ISSUER, sign } from '../support/key-host.ts';
import { type Family, inParallel, mustHold, onlyThese, tally, times } from './attack.ts';
import { JWT_SECRET, type Target } from './target.ts';

const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const now = (): number => Math.floor(Date.now() / 1_000);
const claims = (): Record<string, unknown> => ({
  iss: ISSUER,
  aud: AUDIENCE,
  sub: 'mallory',
  iat: now(),
  exp: now() + 300,
});

/** Signed in HMAC-SHA-256, whatever its header says. */
function signed(header: object, payload: object, secret: string): string {
  const text = `${part(header)}.${part(payload)}`;
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}

/** A token at a door. @returns status */
async function at({ doors, saleId }: Target, door: 'secret' | 'keys', token: string): Promise<number> {
  const response = await fetch(`${doors[door].url}/api/flash-sales/${saleId}/order`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}` },
  });
  await response.arrayBuffer();
  return response.status;
}

async function forged({ signer, token, keyHost }: Target): Promise<Record<string, string>> {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2_048 });
  const own = { ...(await exportJWK(rsa.publicKey)), kid: 'k1', alg: 'RS256' };
  // An hour old: were they new, nothing could be said of an unknown key within the cooldown.
  const byOwn = (header: object): Promise<string> =>
    new SignJWT({ ...claims(), iat: now() - 3_600 })
      .setProtectedHeader({ alg: 'RS256', ...header })
      .sign(rsa.privateKey);
  const pem = await exportSPKI((await importJWK(signer.publicKey, 'RS256')) as Parameters<typeof exportSPKI>[0]);
  const good = (await token('mallory')).split('.');
  const [head, body, signature] = good as [string, string, string];
  const kids = [
    '../../dev/null',
    '/dev/null',
    "' UNION SELECT 'k",
    'http://127.0.0.1:1/k',
    '__proto__',
    '',
    'x'.repeat(4_000),
  ];
  return {
    none: `${part({ alg: 'none' })}.${part(claims())}.`,
    'None, with a signature': `${part({ alg: 'None' })}.${part(claims())}.${signature}`,
    'no algorithm': `${part({})}.${part(claims())}.${signature}`,
    'a list of algorithms': signed({ alg: ['HS256'] }, claims(), JWT_SECRET),
    'the public key as the secret (PEM)': signed({ alg: 'HS256', kid: 'k1' }, claims(), pem),
    'the public key as the secret (JWK)': signed(
      { alg: 'HS256', kid: 'k1' },
      claims(),
      JSON.stringify(signer.publicKey),
    ),
    'an empty secret': signed({ alg: 'HS256' }, claims(), ''),
    HS512: signed({ alg: 'HS512' }, claims(), JWT_SECRET),
    'its own key (jwk)': await byOwn({ jwk: own, kid: 'k1' }),
    'its own key set (jku)': await byOwn({ jku: keyHost.url, kid: 'k1' }),
    'its own certificate (x5u, x5c)': await byOwn({ x5u: keyHost.url, x5c: ['AAAA'], kid: 'k1' }),
    PS256: await new SignJWT(claims()).setProtectedHeader({ alg: 'PS256', kid: 'k1' }).sign(rsa.privateKey),
    'a critical word': signed({ alg: 'HS256', crit: ['exp'], exp: 1 }, claims(), JWT_SECRET),
    'an unencoded payload (b64: false)': signed({ alg: 'HS256', b64: false, crit: ['b64'] }, claims(), JWT_SECRET),
    'compressed, encrypted': `${part({ alg: 'dir', enc: 'A256GCM', zip: 'DEF' })}..AAAA.AAAA.AAAA`,
    'another payload': `${head}.${part({ ...claims(), sub: 'admin' })}.${signature}`,
    'four parts': `${head}.${body}.${signature}.${signature}`,
    'its signature in another alphabet': `${head}.${body}.${signature.slice(0, -2)}+/`,
    'a claim twice': `${head}.${Buffer.from(`{"sub":"a","sub":"b","exp":${now() + 99}}`).toString('base64url')}.${signature}`,
    'deep claims': signed({ alg: 'HS256' }, JSON.parse(`${'{"a":'.repeat(900)}1${'}'.repeat(900)}`), JWT_SECRET),
    'a prototype': signed({ alg: 'HS256' }, JSON.parse('{"__proto__":{"sub":"admin","exp":9999999999}}'), JWT_SECRET),
    'no UTF-8': `${head}.${Buffer.from([0xff, 0xfe, 0xfd]).toString('base64url')}.${signature}`,
    'an end without an end': signed({ alg: 'HS256' }, { ...claims(), exp: 1e308 * 10 }, JWT_SECRET),
    'a subject with a line feed': await token('ann\nadmin'),
    'a subject that is a list': signed({ alg: 'HS256' }, { ...claims(), sub: ['ann'] }, JWT_SECRET),
    ...Object.fromEntries(
      await Promise.all(kids.map(async (kid) => [`kid ${kid.slice(0, 20)}`, await byOwn({ kid })] as const)),
    ),
  };
}

/** A host of keys that answers in a bad manner. */
async function badKeyHost(answer: Parameters<typeof createServer>[1]): Promise<{ url: string; server: Server }> {
  const server = createServer(answer as never).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks`, server };
}

export const tokens: Family = {
  name: 'Tokens',
  attacks: [
    {
      name: 'forged tokens: none, confusion, kid, jku, x5u, jwk, crit, b64, prototypes, depth',
      bound: '32 tokens at two doors',
      holds: '401 for each',
      async run(target) {
        const told: number[] = [];
        for (const [way, token] of Object.entries(await forged(target))) {
          for (const door of ['secret', 'keys'] as const) {
            const status = await at(target, door, token);
            mustHold(status === 401, `${way} at ${door}: ${status}`);
            told.push(status);
          }
        }
        return tally(told);
      },
    },
    {
      name: 'the edges of the clock',
      bound: '8 tokens',
      holds: '5 s are forgiven, not more; a remembered token ends when it ends',
      async run(target) {
        const { token } = target;
        const cases: [string, Record<string, unknown>, number][] = [
          ['ended 3 s ago', { exp: now() - 3 }, 200],
          ['ended 7 s ago', { exp: now() - 7 }, 401],
          ['begins in 3 s', { nbf: now() + 3 }, 200],
          ['begins in a minute', { nbf: now() + 60 }, 401],
          ['issued in a minute', { iat: now() + 60 }, 401],
          ['an end before 1970', { exp: -1 }, 401],
          ['an end of zero', { exp: 0 }, 401],
        ];
        for (const [what, changed, expected] of cases) {
          const status = await at(target, 'secret', await token('edge', changed));
          mustHold(status === expected, `${what}: ${status}`);
        }
        const short = await token('short', { exp: now() - 3 });
        const told: number[] = [];
        const end = performance.now() + 5_000;
        while (performance.now() < end && told.at(-1) !== 401) {
          told.push(await at(target, 'secret', short));
          await new Promise((resolve) => setTimeout(resolve, 100));
        }
        mustHold(told[0] === 200 && told.at(-1) === 401, `used on while it expired: ${tally(told)}`);
        return `as stated; used on while it expired: ${tally(told)}`;
      },
    },
    {
      name: 'more good tokens than are remembered',
      bound: '70,000 different ones, 64 at a time, at most 40 s',
      holds: 'memory is bounded (50,000 are remembered)',
      async run(target) {
        const { token, doors, residentMb } = target;
        const before = residentMb('secret');
        const end = performance.now() + 40_000;
        let asked = 0;
        const told = await inParallel(times(70_000), 64, async (i) => {
          if (performance.now() > end) return 'not sent';
          asked += 1;
          const headers = { authorization: `Bearer ${await token(`many-${i}`)}` };
          const response = await fetch(`${doors.secret.url}/api/orders/none`, { headers });
          await response.arrayBuffer();
          return response.status;
        });
        const grown = residentMb('secret') - before;
        onlyThese(told, [404, 503, 'not sent']);
        mustHold(grown < 150, `the process has grown by ${grown.toFixed(0)} MB`);
        return `${asked.toLocaleString('en')} sent: ${tally(told)}; grown by ${grown.toFixed(0)} MB`;
      },
    },
    {
      name: 'a flood of forged tokens that must be verified',
      bound: '10,000 with a wrong signature, 100 at a time',
      holds: '401; buyers beside it are served; not a line for each',
      async run(target) {
        const { signer, logBytes, beside } = target;
        const [head, , signature] = (await signer.token()).split('.');
        const linesBefore = logBytes();
        const seen = await beside('keys', () =>
          inParallel(times(10_000), 100, (i) =>
            at(target, 'keys', `${head}.${part({ ...claims(), sub: `forged-${i}` })}.${signature}`),
          ),
        );
        onlyThese(seen.result, [401, 503]);
        // The buyer beside it has a line for each order.
        const lines = logBytes() - linesBefore - seen.served * 600;
        mustHold(lines < 100_000, `${lines} bytes of lines`);
        mustHold(seen.served > 0, 'nobody was served beside it');
        return `${tally(seen.result)}; a buyer beside it: ${seen.served} of ${seen.asked} served, the slowest in ${seen.worstMs.toFixed(0)} ms`;
      },
    },
    {
      name: 'many unknown kids',
      bound: '2,000 tokens, each with a kid of its own',
      holds: '401, or 503 until the host may be asked again; it is asked once in 5 s',
      async run(target) {
        const rsa = generateKeyPairSync('rsa', { modulusLength: 2_048 });
        const before = target.keyHost.asked;
        const startedAt = performance.now();
        const told = await inParallel(times(2_000), 50, async (i) =>
          at(target, 'keys', await sign(rsa.privateKey as never, { alg: 'RS256', kid: `made-up-${i}` })),
        );
        const asked = target.keyHost.asked - before;
        onlyThese(told, [401, 503]);
        const most = Math.ceil((performance.now() - startedAt) / 5_000) + 1;
        mustHold(asked <= most, `the host was asked ${asked} times`);
        return `${tally(told)}; the host was asked ${asked} times`;
      },
    },
    {
      name: 'a host of keys that is slow, endless, redirects, or serves what is no key, or a weak one',
      bound: '7 hosts, an API process for each',
      holds: '503 or 401, never 200 and never 500; each process lives; not a line for each request',
      async run(target) {
        const weak = generateKeyPairSync('rsa', { modulusLength: 1_024 });
        const weakKey = { ...(await exportJWK(weak.publicKey)), kid: 'k1', alg: 'RS256', use: 'sig' } as JWK;
        const hosts: Record<string, Parameters<typeof createServer>[1]> = {
          slow: (() => undefined) as never,
          'a byte a second': ((_request: unknown, response: { write(text: string): void }) => {
            const timer = setInterval(() => response.write(' '), 1_000);
            setTimeout(() => clearInterval(timer), 20_000).unref();
          }) as never,
          endless: ((_request: unknown, response: import('node:http').ServerResponse) => {
            const more = (): void => {
              while (!response.destroyed && response.write('x'.repeat(65_536)));
              if (!response.destroyed) response.once('drain', more);
            };
            more();
          }) as never,
          redirects: ((_request: unknown, response: import('node:http').ServerResponse) =>
            response.writeHead(302, { location: target.keyHost.url }).end()) as never,
          'a secret among the keys': ((_request: unknown, response: import('node:http').ServerResponse) =>
            response.end(JSON.stringify({ keys: [{ kty: 'oct', kid: 'k1', k: part('x'.repeat(40)) }] }))) as never,
          'no list': ((_request: unknown, response: import('node:http').ServerResponse) =>
            response.end('{"keys":{"length":1e9}}')) as never,
          'a weak key': ((_request: unknown, response: import('node:http').ServerResponse) =>
            response.end(JSON.stringify({ keys: [weakKey] }))) as never,
        };
        const told: string[] = [];
        for (const [manner, answer] of Object.entries(hosts)) {
          const { url, server } = await badKeyHost(answer);
          try {
            const door = await target.system.addApi(`bad-${manner.replaceAll(' ', '-')}`, {
              AUTH: 'jwt',
              JWT_ISSUER: ISSUER,
              JWT_AUDIENCE: AUDIENCE,
              JWT_JWKS_URL: url,
            });
            const token = await target.signer.token();
            const before = target.logBytes();
            const all = await inParallel(times(200), 50, async () => {
              const response = await fetch(`${door}/api/orders/none`, {
                headers: { authorization: `Bearer ${token}` },
              });
              await response.arrayBuffer();
              return response.status;
            });
            onlyThese(all, [401, 503]);
            const lines = target.logBytes() - before;
            mustHold(lines < 20_000, `${manner}: ${lines} bytes of lines for 200 requests`);
            told.push(`${manner}: ${tally(all)}`);
            await target.system.stopApi(`bad-${manner.replaceAll(' ', '-')}`);
          } finally {
            server.closeAllConnections();
            server.close();
          }
        }
        return told.join('; ');
      },
    },
  ],
};

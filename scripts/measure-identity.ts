/**
 * What it costs to know a buyer by a token: accepted orders a second with AUTH=jwt ÷ AUTH=header, in turns on one system, for each algorithm,
 * with tokens that were never seen and with tokens that were seen before; the processor time of a verification; and what the headers that every answer carries
 * cost. With --write the page in docs/measurements is made.
 *
 *   pnpm measure:identity [--rounds 3] [--orders 6000] [--write]
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AUDIENCE, ISSUER, makeSigner, sign, startKeyHost } from '../tests/support/key-host.ts';
import { BenchSystem } from './bench/bench-system.ts';
import { answerHeadersUs } from './identity/answer-headers-cost.ts';
import { type Algorithm, orderRound, type Way } from './identity/order-round.ts';
import { identityPage, type Measured } from './identity/page.ts';
import { verificationUs } from './identity/verification-cost.ts';
import { measuredBy } from './measured-by.ts';
import { readArguments } from './read-arguments.ts';

const SECRET = 'm4Zk-w8QpX2rVt6LsBy9NcHd3FgJe7Ua';
const root = fileURLToPath(new URL('..', import.meta.url));
const { values } = readArguments(import.meta.url, {
  options: {
    rounds: { type: 'string', default: '3' },
    orders: { type: 'string', default: '6000' },
    write: { type: 'boolean', default: false },
  },
});
const [rounds, orders] = [Number(values.rounds), Number(values.orders)];
if (!(rounds >= 1 && orders >= 100)) {
  process.stderr.write('--rounds must be 1 or more, --orders 100 or more.\n');
  process.exit(2);
}
const say = (line: string): void => void process.stdout.write(`${line}\n`);

async function makeTokens(): Promise<Record<Algorithm, (buyerId: string) => Promise<string>>> {
  const key = new TextEncoder().encode(SECRET);
  return {
    HS256: (sub) => sign(key, { alg: 'HS256' }, { sub }),
    RS256: (sub) => signers.RS256.token({ sub }),
    ES256: (sub) => signers.ES256.token({ sub }),
    EdDSA: (sub) => signers.EdDSA.token({ sub }),
  };
}

const signers = {
  RS256: await makeSigner('RS256', 'rsa'),
  ES256: await makeSigner('ES256', 'ec'),
  EdDSA: await makeSigner('EdDSA', 'ed'),
};
const keyHost = await startKeyHost(Object.values(signers).map(({ publicKey }) => publicKey));
const system = await BenchSystem.start({ settings: { RATE_LIMIT_TOKENS: '0', GLOBAL_RATE_LIMIT: '0' } });
try {
  const tokens = { AUTH: 'jwt', JWT_ISSUER: ISSUER, JWT_AUDIENCE: AUDIENCE };
  const bySecret = await system.addApi('secret', { ...tokens, JWT_SECRET: SECRET });
  const byKeys = await system.addApi('keys', { ...tokens, JWT_JWKS_URL: keyHost.url });
  const make = await makeTokens();
  const ways: Way[] = (Object.keys(make) as Algorithm[]).map((algorithm) => {
    const name = algorithm === 'HS256' ? 'secret' : 'keys';
    return {
      algorithm,
      url: name === 'secret' ? bySecret : byKeys,
      pid: system.pid(`api-${name}`),
      makeToken: make[algorithm],
    };
  });
  const measured: Measured[] = [];
  for (let round = 0; round < rounds; round++) {
    for (const way of ways) {
      const found = await orderRound(system, way, orders);
      measured.push({ algorithm: way.algorithm, ...found });
      const { fresh, seen, before, after } = found;
      say(
        `${way.algorithm}: header ${before.rate.toFixed(0)} and ${after.rate.toFixed(0)}, fresh tokens ${fresh.rate.toFixed(0)}, seen ${seen.rate.toFixed(0)} a second`,
      );
    }
  }
  const verification = await verificationUs(make, {
    secret: SECRET,
    keySetUrl: keyHost.url,
    rounds: Math.max(5, rounds),
  });
  for (const [algorithm, { fresh, seen }] of Object.entries(verification))
    say(
      `${algorithm}: ${fresh.median.toFixed(1)} µs of processor time a verification, ${seen.median.toFixed(1)} where it is remembered`,
    );
  const answer = await answerHeadersUs(Math.max(5, rounds));
  say(
    `the headers of every answer: ${answer.difference.median.toFixed(2)} µs (${answer.difference.min.toFixed(2)} to ${answer.difference.max.toFixed(2)})`,
  );
  if (values.write) {
    const by = measuredBy(`pnpm measure:identity --rounds ${rounds} --orders ${orders} --write`);
    const text = identityPage({ measured, verification, answer, rounds, orders, by });
    writeFileSync(join(root, 'docs', 'measurements', 'identity.md'), text);
  }
} finally {
  await system.stop();
  await keyHost.close();
}

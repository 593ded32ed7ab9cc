/** Processor time of one verification, by the judge of the API in this process: all of its threads are counted, for Node verifies beside the event loop. */
import { createTokenVerifier } from '@flash-sale/api/auth/verify-token.ts';
import type { Identity } from '@flash-sale/core/config/identity.ts';
import { createLogger } from '@flash-sale/core/runtime/logging.ts';
import { AUDIENCE, ISSUER } from '../../tests/support/key-host.ts';
import { type Spread, spreadOf } from '../bench/spread.ts';
import type { Algorithm } from './order-round.ts';

const TOKENS = 3_000;
/** Tokens that are judged at a time. */
const WIDTH = 64;

export type VerificationCost = Record<Algorithm, { readonly fresh: Spread; readonly seen: Spread }>;

/** @throws where a token is not found good */
export async function verificationUs(
  make: Record<Algorithm, (buyerId: string) => Promise<string>>,
  options: { secret: string; keySetUrl: string; rounds: number },
): Promise<VerificationCost> {
  const found = {} as Record<Algorithm, { fresh: Spread; seen: Spread }>;
  for (const algorithm of Object.keys(make) as Algorithm[]) {
    const [fresh, seen]: [number[], number[]] = [[], []];
    // The first round warms up.
    for (let round = 0; round <= options.rounds; round++) {
      const tokens: string[] = [];
      for (let i = 0; i < TOKENS; i++) tokens.push(await make[algorithm](`v${round}-${i}`));
      const keys: Extract<Identity, { kind: 'jwt' }>['keys'] =
        algorithm === 'HS256'
          ? { kind: 'secret', secret: options.secret }
          : { kind: 'jwks', url: new URL(options.keySetUrl) };
      const identity = { kind: 'jwt' as const, keys, issuer: ISSUER, audience: AUDIENCE };
      const judge = createTokenVerifier(identity, { log: createLogger('measured', 'silent', '') });
      try {
        // The keys are fetched with the first one.
        if ((await judge.judge(await make[algorithm]('first'))).word !== 'buyer') throw new Error('not found good');
        const first = await cpuUs(async () => {
          for (let i = 0; i < TOKENS; i += WIDTH) {
            const outcomes = await Promise.all(tokens.slice(i, i + WIDTH).map((token) => judge.judge(token)));
            if (outcomes.some(({ word }) => word !== 'buyer')) throw new Error(`${algorithm}: a token was refused`);
          }
        });
        const again = await cpuUs(async () => {
          if (tokens.some((token) => judge.recall(token) === null))
            throw new Error(`${algorithm}: a token was forgotten`);
        });
        if (round === 0) continue;
        fresh.push(first / TOKENS);
        seen.push(again / TOKENS);
      } finally {
        judge.close();
      }
    }
    found[algorithm] = { fresh: spreadOf(fresh), seen: spreadOf(seen) };
  }
  return found;
}

async function cpuUs(work: () => Promise<void>): Promise<number> {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return user + system;
}

/** All attacks, one behind the other, on one system; after each it is looked at. */
import type { Attack, Family } from './attack.ts';
import { buyersFamily } from './buyers.ts';
import { connections } from './connections.ts';
import { framing } from './framing.ts';
import { headers } from './headers.ts';
import { injection } from './injection.ts';
import { operators } from './operators.ts';
import { paths } from './paths.ts';
import { type Looked, startTarget } from './target.ts';
import { tokens } from './tokens.ts';
import { volume } from './volume.ts';

/** Milliseconds that one attack may take: its own bounds are below it. */
const ATTACK_MS = 150_000;

const families: readonly Family[] = [
  framing,
  headers,
  paths,
  injection,
  tokens,
  operators,
  buyersFamily,
  connections,
  volume,
];

export const familyNames = families.map(({ name }) => name.toLowerCase());

export interface Outcome {
  readonly family: string;
  readonly attack: Attack;
  /** In words; what did not hold where it is broken. */
  readonly came: string;
  readonly holds: boolean;
  readonly seconds: number;
  /** null where it was broken before. */
  readonly looked: Looked | null;
}

/** @param only a family's name in lower case; null: all */
export async function runAttacks(only: string | null, tell: (outcome: Outcome) => void): Promise<Outcome[]> {
  const target = await startTarget();
  const outcomes: Outcome[] = [];
  try {
    await target.look();
    for (const { name: family, attacks } of families) {
      if (only !== null && only !== family.toLowerCase()) continue;
      for (const attack of attacks) {
        const startedAt = performance.now();
        let came = '';
        let looked: Looked | null = null;
        let holds = false;
        try {
          came = await inTime(attack.run(target));
          looked = await target.look();
          holds = true;
        } catch (error) {
          came = `${came}${came ? '; then ' : ''}${(error as Error).message}`;
        }
        const outcome = { family, attack, came, holds, looked, seconds: (performance.now() - startedAt) / 1_000 };
        outcomes.push(outcome);
        tell(outcome);
      }
    }
    return outcomes;
  } finally {
    await target.stop();
  }
}

async function inTime(work: Promise<string>): Promise<string> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`not over after ${ATTACK_MS / 1_000} s`)), ATTACK_MS);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

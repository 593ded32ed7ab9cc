/** All attacks, one behind the other, on one system; after each it is looked at. */
import type { Family } from './attack.ts';
import { buyersFamily } from './buyers.ts';
import { connections } from './connections.ts';
import { framing } from './framing.ts';
import { headers } from './headers.ts';
import { injection } from './injection.ts';
import { operators } from './operators.ts';
import { paths } from './paths.ts';
import { startTarget } from './target.ts';
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

interface Outcome {
  readonly family: string;
  readonly attack: string;
  /** In words; what did not hold if it is broken. */
  readonly came: string;
  readonly holds: boolean;
}

export async function runAttacks(): Promise<Outcome[]> {
  const target = await startTarget();
  const outcomes: Outcome[] = [];
  try {
    await target.look();
    for (const { name: family, attacks } of families) {
      for (const attack of attacks) {
        let came = '';
        let holds = false;
        try {
          came = await inTime(attack.run(target));
          await target.look();
          holds = true;
        } catch (error) {
          came = `${came}${came ? '; then ' : ''}${(error as Error).message}`;
        }
        outcomes.push({ family, attack: attack.name, came, holds });
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

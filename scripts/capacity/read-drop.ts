/** What drop is asked for: options of the command, each with its bounds. */
import { CapacityError } from './constants.ts';
import type { Drop } from './size-drop.ts';

interface Option {
  readonly key: keyof Drop;
  readonly example: number;
  readonly from: number;
  readonly below?: number;
  readonly upTo?: number;
  /** Where it is absent; else the example. */
  readonly absent?: (drop: Partial<Drop>) => number;
}

export const DROP_OPTIONS = {
  buyers: { key: 'buyers', example: 1_000_000, from: 1 },
  units: { key: 'units', example: 10_000, from: 1 },
  seconds: { key: 'seconds', example: 10, from: 1 },
  'requests-per-buyer': { key: 'requestsPerBuyer', example: 3, from: 1 },
  sales: { key: 'sales', example: 1, from: 1 },
  'cores-per-machine': { key: 'coresPerMachine', example: 4, from: 1 },
  headroom: { key: 'headroom', example: 0.5, from: 0, below: 1 },
  'rate-limit': { key: 'rateLimit', example: 0, from: 0 },
  'refusals-through-redis': { key: 'throughRedis', example: 0, from: 0, upTo: 1 },
  'max-connections': { key: 'maxConnections', example: 15_000, from: 1 },
  connections: { key: 'connections', example: 1_000_000, from: 1, absent: ({ buyers }) => buyers as number },
  'ledger-within': { key: 'ledgerWithin', example: 10, from: 0.1, absent: ({ seconds }) => seconds as number },
} as const satisfies Record<string, Option>;

export type DropOption = keyof typeof DROP_OPTIONS;

/**
 * @param texts as they were typed
 * @throws CapacityError that names each one that does not fit
 */
export function readDrop(texts: Readonly<Partial<Record<DropOption, string>>>): Drop {
  const wrong: string[] = [];
  const drop: Partial<Record<keyof Drop, number>> = {};
  for (const [name, option] of Object.entries(DROP_OPTIONS) as [DropOption, Option][]) {
    const text = texts[name];
    const value = text === undefined ? (option.absent?.(drop) ?? option.example) : Number(text);
    const { from, below = Number.POSITIVE_INFINITY, upTo = Number.MAX_SAFE_INTEGER } = option;
    if (text?.trim() === '' || !(value >= from && value < below && value <= upTo)) {
      const most = option.below === undefined ? `to ${upTo}` : `and below ${below}`;
      wrong.push(`--${name} must be a number from ${from} ${most}, and is "${text}"`);
    }
    drop[option.key] = value;
  }
  if (wrong.length > 0) throw new CapacityError(wrong.join('\n'));
  return drop as Drop;
}

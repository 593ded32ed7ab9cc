/** What one order costs each part: measured by the bench, written into docs/measurements/speed.json, or given as options. */
import { existsSync, readFileSync } from 'node:fs';

/** Name → what it is. Each has to be known; there is no value that would be right for every machine. */
const MEASURED = {
  api_us_per_order: 'µs of CPU of the API for an order that is accepted',
  worker_us_per_order: 'µs of CPU of the worker for an order',
  redis_us_per_order: 'µs of CPU of Redis for an order, from reserve to commit, its job in it',
  postgres_us_per_order: 'µs of CPU of PostgreSQL for an order',
  api_us_per_refusal: 'µs of CPU of the API for a refusal that asks nobody',
  redis_bytes_per_live_order: 'bytes of Redis for an order that the ledger does not have yet, its part of a job in it',
  redis_bytes_per_held_buyer: 'bytes of Redis for a buyer who holds units, where the sale has a cap',
  aof_bytes_per_order: 'bytes of the append-only file for an order, from reserve to commit',
  ledger_bytes_per_order: 'bytes of PostgreSQL for an order, indexes in it',
} as const;

/** Name → what it is, and what is taken where nobody measured it. */
const TAKEN = {
  api_us_per_refusal_through_redis: ['µs of CPU of the API for a refusal that asks Redis', 100],
  redis_us_per_refusal: ['µs of CPU of Redis for a refusal that asks it', 5],
  redis_bytes_per_bucket: [
    'bytes of Redis for the bucket of a buyer whom the limits let through, some seconds long; twice that where he orders again',
    90,
  ],
  redis_network_bytes_per_order: ['bytes to and from Redis for an order', 560],
  request_bytes: ['bytes of a request, headers of a gateway in it', 800],
  reply_bytes: ['bytes of a reply, headers in it', 800],
} as const satisfies Record<string, readonly [what: string, taken: number]>;

type Measured = keyof typeof MEASURED;
export type Constants = Readonly<Record<Measured | keyof typeof TAKEN, number>>;

export const CONSTANT_NAMES = [...Object.keys(MEASURED), ...Object.keys(TAKEN)] as (keyof Constants)[];

/** What there is to say of them in an error that somebody typed. */
export class CapacityError extends Error {}

/** @returns those of the file, {} where there is none. Other things that stand in it are the bench's */
export function readConstants(file: string): Record<string, unknown> {
  if (!existsSync(file)) return {};
  try {
    const { constants } = JSON.parse(readFileSync(file, 'utf8')) as { constants?: unknown };
    if (typeof constants === 'object' && constants !== null) return constants as Record<string, unknown>;
  } catch (error) {
    throw new CapacityError(`${file} cannot be read: ${(error as Error).message}`);
  }
  throw new CapacityError(`${file} has no "constants"`);
}

/**
 * @param known of the file, and over them those of options
 * @throws CapacityError that names each one that is missing or no number
 */
export function completeConstants(known: Readonly<Record<string, unknown>>): Constants {
  const wrong: string[] = [];
  const complete = {} as Record<keyof Constants, number>;
  for (const name of CONSTANT_NAMES) {
    const value = known[name] ?? (name in TAKEN ? TAKEN[name as keyof typeof TAKEN][1] : undefined);
    if (typeof value === 'number' && Number.isFinite(value) && value >= 0) complete[name] = value;
    else if (value === undefined) wrong.push(`--${optionOf(name)} is missing: ${MEASURED[name as Measured]}`);
    else wrong.push(`${name} must be a number from 0, and is ${JSON.stringify(value)}`);
  }
  if (wrong.length > 0) throw new CapacityError(wrong.join('\n'));
  return complete;
}

/** api_us_per_order → api-us-per-order. */
export const optionOf = (name: string): string => name.replaceAll('_', '-');

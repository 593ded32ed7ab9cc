/** Bytes that a Redis stores, receives, sends and appends. */

import type { Redis } from 'ioredis';
import type { World } from '../support/world.ts';

/** Of a Redis of the test's own, since its start. `sent` includes the output of MONITOR. */
export async function flowOf(redis: Redis): Promise<{ received: number; sent: number; appended: number }> {
  const info = `${await redis.info('stats')}\n${await redis.info('persistence')}`;
  const figure = (name: string): number => {
    const found = new RegExp(`^${name}:(\\d+)`, 'm').exec(info)?.[1];
    if (found === undefined) throw new Error(`INFO says nothing of ${name}`);
    return Number(found);
  };
  return {
    received: figure('total_net_input_bytes'),
    sent: figure('total_net_output_bytes'),
    appended: figure('aof_current_size'),
  };
}

export interface KeptBytes {
  /** Reservations of all sales. */
  readonly sale: number;
  /** The hashes of units that buyers hold. */
  readonly buyers: number;
  /** Token buckets, which expire within seconds. */
  readonly buckets: number;
  /** All keys of BullMQ. */
  readonly queue: number;
  /** Number of keys, without the buckets. */
  readonly keysThatStay: number;
}

/** Bytes of the world's keys, by MEMORY USAGE over all fields. */
export async function bytesOf({ redis, prefix }: World): Promise<KeptBytes> {
  const kept = { sale: 0, buyers: 0, buckets: 0, queue: 0, keysThatStay: 0 };
  const keys = [...(await redis.keys(`${prefix}:*`)), ...(await redis.keys(`{${prefix}}:*`))];
  const answers = await Promise.all(keys.map((key) => redis.memory('USAGE', key, 'SAMPLES', 0)));
  for (const [i, key] of keys.entries()) {
    const bytes = answers[i] ?? 0;
    if (key.includes('}:buckets:')) kept.buckets += bytes;
    else kept.keysThatStay += 1;
    if (key.startsWith('{')) kept.queue += bytes;
    else if (key.endsWith('}:buyers')) kept.buyers += bytes;
    else if (/\}:reservations$/.test(key)) kept.sale += bytes;
  }
  return kept;
}

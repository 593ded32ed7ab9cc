/** Bytes that a Redis keeps, receives, sends and appends: counted, not timed. */

import type { Redis } from 'ioredis';
import type { World } from '../support/world.ts';

/**
 * Of a Redis that nobody else uses, since it was started. MONITOR, while it runs, is a part of what
 * is sent.
 */
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
  /** Units that buyers hold. */
  readonly buyers: number;
  /** Of buyers; gone within seconds. */
  readonly buckets: number;
  /** All that is BullMQ's. */
  readonly queue: number;
  /** All keys but buckets. */
  readonly keysThatStay: number;
}

/** What the world's keys take, by MEMORY USAGE of each, every field of it looked at. */
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

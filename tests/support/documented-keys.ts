/** Documented Redis keys (docs/reference.md). No input of buyers may create another one. */
import { SALE_ID_PATTERN } from '@flash-sale/core/domain/sale.ts';
import type { World } from './world.ts';

const [event, variant] = SALE_ID_PATTERN.replace(/^\^|\$$/g, '').split(/(?=\()/);
const OF_SALE = 'inventory|reservations|claims|redeliveries|buyers|order-keys|stock-changes|earlier-orders|rebuilder';
const OF_SYSTEM = 'window|worker-alive|ledger';
/** BullMQ's names for the queue, its lists and its jobs. */
const OF_QUEUE = '[a-z-]+(:[a-zA-Z0-9_.-]+){1,2}';

/** @returns the keys of this world that are not documented */
export async function undocumentedKeys({ redis, prefix }: Pick<World, 'redis' | 'prefix'>): Promise<string[]> {
  const documented = new RegExp(
    `^(${prefix}:(\\{${event}\\}(:buckets:[01]|${variant}:(${OF_SALE}))|\\{system\\}:(${OF_SYSTEM}))|\\{${prefix}\\}:${OF_QUEUE})$`,
  );
  const found: string[] = [];
  for await (const names of redis.scanStream({ match: `*${prefix}*`, count: 1_000 }))
    found.push(...(names as string[]).filter((name) => !documented.test(name)));
  return found;
}

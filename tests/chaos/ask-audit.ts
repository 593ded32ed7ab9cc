/** The project's own audit (`pnpm audit:sale`), asked about the end of a run: a second pair of eyes, with other rules than the model's. */
import { auditSales } from '@flash-sale/core/audit/audit-sale.ts';
import { connectForAudit } from '@flash-sale/core/audit/connect-audit.ts';
import { createKeys } from '@flash-sale/core/redis/keys.ts';
import { KEY_PREFIX, type Parts } from './parts.ts';

/** @returns a line for each break */
export async function auditBreaks(parts: Parts): Promise<string[]> {
  const urls = { redisUrl: parts.server('redis').url, databaseUrl: parts.server('postgres').url };
  const { redis, pool, close } = await connectForAudit(urls);
  try {
    const { sales, queue } = await auditSales({ redis, pool, keys: createKeys(KEY_PREFIX) });
    return [...sales.flatMap((sale) => sale.breaks), ...queue.breaks].map(
      ({ code, subject, detail }) => `${code} ${subject}: ${detail}`,
    );
  } finally {
    await close();
  }
}

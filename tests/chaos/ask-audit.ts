/** The project's own audit (`pnpm audit:sale`), asked about the end of a run: a second pair of eyes, with other rules than the model's. */

import { createKeys } from '@flash-sale/core/inventory/keys.ts';
import { listFaults } from '@flash-sale/ops/audit/audit-report.ts';
import { auditSales } from '@flash-sale/ops/audit/audit-sale.ts';
import { connectForAudit } from '@flash-sale/ops/audit/connect-audit.ts';
import { KEY_PREFIX, type Parts } from './parts.ts';

/** @returns a line for each break, and for each sale that could not be judged */
export async function auditBreaks(parts: Parts): Promise<string[]> {
  const urls = { redisUrl: parts.server('redis').url, databaseUrl: parts.server('postgres').url };
  const { redis, pool, close } = await connectForAudit(urls);
  try {
    return listFaults(await auditSales({ redis, pool, keys: createKeys(KEY_PREFIX) }));
  } finally {
    await close();
  }
}

/**
 * npm run audit:sale -- [id …] [--json | --codes]
 *
 * Checks that Redis, PostgreSQL and the queue agree about each sale. It changes nothing and may run
 * during a sale. --codes lists the violations that it can find.
 *
 * Exit code 0: clean; 1: violations; 2: no violations, but not everything could be checked.
 */
import { createKeys } from '@flash-sale/core/inventory/keys.ts';
import { findSystem } from '@flash-sale/launcher/running-system.ts';
import { CODES, exitCodeOf, printAudit } from '@flash-sale/ops/audit/audit-report.ts';
import { auditSales } from '@flash-sale/ops/audit/audit-sale.ts';
import { connectStores } from '@flash-sale/ops/connect-stores.ts';
import { root, runScript, say } from './command.ts';

const options = { json: { type: 'boolean' }, codes: { type: 'boolean' } } as const;

await runScript(import.meta.url, 2, { options, allowPositionals: true }, async ({ values, positionals }) => {
  if (values.codes) {
    for (const [code, meaning] of Object.entries(CODES)) say(`${code.padEnd(32)}${meaning}`);
    return 0;
  }
  const { environment } = findSystem(root, process.env, 'REDIS_URL', 'DATABASE_URL');
  const { REDIS_URL: redisUrl, DATABASE_URL: databaseUrl, KEY_PREFIX: prefix } = environment;
  const { redis, pool, close } = await connectStores({ redisUrl, databaseUrl, prefix }, 'flash-sale-audit');
  try {
    const asked = positionals.length > 0 ? { saleIds: positionals } : {};
    const report = await auditSales({ redis, pool, keys: createKeys(prefix), ...asked });
    process.stdout.write(values.json ? `${JSON.stringify(report, null, 2)}\n` : printAudit(report));
    return exitCodeOf(report);
  } finally {
    await close();
  }
});

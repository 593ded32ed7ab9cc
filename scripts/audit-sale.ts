/**
 * npm run audit:sale -- [id …] [--json | --codes]
 *
 * Checks that Redis, PostgreSQL and the queue agree about each sale. It changes nothing and may run
 * during a sale. --codes lists the violations that it can find.
 *
 * Exit code 0: clean; 1: violations; 2: no violations, but not everything could be checked.
 */
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createKeys } from '@flash-sale/core/inventory/keys.ts';
import { findServers, findSettings } from '@flash-sale/launcher/running-system.ts';
import { type AuditReport, CODES, exitCodeOf, printAudit } from '@flash-sale/ops/audit/audit-report.ts';
import { auditSales } from '@flash-sale/ops/audit/audit-sale.ts';
import { connectForAudit } from '@flash-sale/ops/audit/connect-audit.ts';
import { readArguments } from './read-arguments.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

const { values, positionals } = readArguments(import.meta.url, {
  options: { json: { type: 'boolean', default: false }, codes: { type: 'boolean', default: false } },
  allowPositionals: true,
});

try {
  if (values.codes)
    for (const [code, meaning] of Object.entries(CODES)) process.stdout.write(`${code.padEnd(32)}${meaning}\n`);
  else process.exitCode = exitCodeOf(await audit(positionals, values.json));
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = 2;
}

async function audit(saleIds: readonly string[], json: boolean): Promise<AuditReport> {
  const keys = createKeys(findSettings(root, process.env).settings.environment.KEY_PREFIX);
  const { redis, pool, close } = await connectForAudit(findServers(root, process.env));
  try {
    const asked = saleIds.length > 0 ? { saleIds } : {};
    const report = await auditSales({ redis, pool, keys, ...asked });
    process.stdout.write(json ? `${JSON.stringify(report, null, 2)}\n` : printAudit(report));
    return report;
  } finally {
    await close();
  }
}

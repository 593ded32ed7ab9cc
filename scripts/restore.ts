/**
 * npm run restore -- <backup> | --after
 *
 * Restores a backup into the empty database at DATABASE_URL, in one transaction. Then it raises the
 * epoch of every sale and pauses sales that are not over; the output lists the next steps. --after
 * does only this second part, for a ledger that another tool restored.
 *
 * Exit code 0: restored; otherwise 1.
 */
import { resolve } from 'node:path';
import type { Environment } from '@flash-sale/core/config/environment.ts';
import { STARTUP_WAIT_MS } from '@flash-sale/core/config/limits.ts';
import { createKeys } from '@flash-sale/core/inventory/keys.ts';
import { checkPostgres } from '@flash-sale/core/ledger/check-postgres.ts';
import { readFromRedis } from '@flash-sale/core/runtime/redis/check-redis.ts';
import { findSystem } from '@flash-sale/launcher/running-system.ts';
import { afterRestore, restoreLedger } from '@flash-sale/ops/backup/restore-ledger.ts';
import { root, runScript, say, usageOf } from './command.ts';

const options = { after: { type: 'boolean', default: false } } as const;

await runScript(import.meta.url, 1, { options, allowPositionals: true }, async ({ values, positionals }) => {
  const [folder] = positionals;
  if (positionals.length > 1 || (folder === undefined) !== values.after) throw new Error(usageOf(import.meta.url));
  const { environment } = findSystem(root, process.env, 'DATABASE_URL');
  const { DATABASE_URL: databaseUrl } = environment;
  await checkPostgres(databaseUrl, STARTUP_WAIT_MS);
  if (folder === undefined) sayNext(await afterRestore(databaseUrl), '');
  else await restore(databaseUrl, resolve(folder), await readOwner(environment));
  return 0;
});

/** @returns the ledger that Redis belongs to; null also if Redis does not answer: it may be lost */
async function readOwner({ REDIS_URL, KEY_PREFIX }: Environment): Promise<string | null> {
  if (REDIS_URL === undefined) return null;
  return readFromRedis(REDIS_URL, 3_000, (redis) => redis.get(createKeys(KEY_PREFIX).ledger)).catch(() => null);
}

async function restore(databaseUrl: string, folder: string, owner: string | null): Promise<void> {
  const startedAt = performance.now();
  const { manifest, paused } = await restoreLedger({ databaseUrl, folder, owner });
  const rows = manifest.tables.map(({ table, rows }) => `${rows} ${table.replaceAll('_', ' ')}`).join(', ');
  say(`ledger of ${manifest.at}: ${rows}; ${((performance.now() - startedAt) / 1_000).toFixed(2)} s`);
  sayNext(paused, manifest.missingOrders ? `${quoted(folder)} ` : '');
}

function sayNext(paused: readonly string[], backup: string): void {
  say(paused.length === 0 ? 'no sale was paused' : `paused: ${paused.join(', ')}`);
  say("Next: start worker and API, repeat operators' changes since then, and run, with all logs of the API:");
  say(`  npm run recover:orders -- ${backup}<logs of the API>`);
  say('Then resume the sales, and run: npm run audit:sale');
}

/** Quotes for a POSIX shell. */
function quoted(text: string): string {
  return /^[\w./:@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

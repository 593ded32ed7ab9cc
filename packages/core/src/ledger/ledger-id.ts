/**
 * The ledger's identity: a random id that is made when the first service starts on it, and stays
 * with it through backups and failovers.
 */
import type pg from 'pg';
import { OtherLedgerError } from '../runtime/unfit-server.ts';

export const IDENTITY_TABLE = 'ledger_identity';

/** @returns null if no service has started on this ledger, or it has no tables yet */
export async function readLedgerId(client: Pick<pg.ClientBase, 'query'>): Promise<string | null> {
  try {
    const { rows } = await client.query<{ id: string }>(`SELECT id FROM ${IDENTITY_TABLE}`);
    return rows[0]?.id ?? null;
  } catch (error) {
    if ((error as { code?: string }).code === '42P01') return null;
    throw error;
  }
}

/** @returns the ledger's id, which is made now if it has none */
export async function identifyLedger(client: Pick<pg.ClientBase, 'query'>): Promise<string> {
  const known = await readLedgerId(client);
  if (known !== null) return known;
  await client.query(`INSERT INTO ${IDENTITY_TABLE} DEFAULT VALUES ON CONFLICT DO NOTHING`);
  return (await readLedgerId(client)) as string;
}

/** @returns for a pool: each new connection must lead to the same ledger as the first one */
export function refuseOtherLedger(): NonNullable<pg.PoolConfig['verify']> {
  let first: string | null = null;
  return (client, done) => {
    readLedgerId(client)
      .then((id) => {
        first ??= id;
        if (id === first) return;
        const fix = 'Correct it, or restart the process.';
        throw new OtherLedgerError('postgres', `DATABASE_URL leads to another ledger (${id}) than before. ${fix}`);
      })
      .then(() => done(), done);
  };
}

/** Gives a ledger its identity at the first start of a service. */
import type pg from 'pg';
import { OtherLedgerError } from '../runtime/unfit-server.ts';
import { IDENTITY_TABLE, readLedgerId } from './ledger-id.ts';

/**
 * @param compare gets the ledger's id, which is new if it had none. If Redis belongs to another
 * ledger, a new id is removed again: a backup that is restored here brings its own.
 * @returns the id
 */
export async function identifyLedger(
  client: Pick<pg.ClientBase, 'query'>,
  compare: (ledgerId: string) => Promise<void>,
): Promise<string> {
  const known = await readLedgerId(client);
  const added =
    known === null
      ? await client.query(`INSERT INTO ${IDENTITY_TABLE} DEFAULT VALUES ON CONFLICT DO NOTHING`)
      : { rowCount: 0 };
  const id = known ?? ((await readLedgerId(client)) as string);
  try {
    await compare(id);
    return id;
  } catch (error) {
    if (added.rowCount === 1 && error instanceof OtherLedgerError)
      await client.query(`DELETE FROM ${IDENTITY_TABLE} WHERE id = $1`, [id]);
    throw error;
  }
}

/** A read-only snapshot of PostgreSQL: whatever is read in it is of one instant. */
import type { Pool, PoolClient } from 'pg';

/** Ids that one statement asks for, rows that are fetched at a time. */
export const CHUNK = 5_000;

export async function inSnapshot<Result>(pool: Pool, read: (client: PoolClient) => Promise<Result>): Promise<Result> {
  const client = await pool.connect();
  let broken: Error | undefined;
  const onError = (error: Error): void => {
    broken = error;
  };
  client.on('error', onError);
  try {
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    return await read(client);
  } finally {
    await client.query('ROLLBACK').catch(onError);
    client.off('error', onError);
    client.release(broken);
  }
}

/** A pool whose changes are seen by itself alone and vanish with its connection. */
import type { Client, Pool } from './connect-postgres.ts';

/**
 * Each connection of the pool gets one transaction that is never committed; the transactions in it
 * become savepoints.
 *
 * @param pool without connections yet; it should have one, as each sees only its own changes
 */
export function neverCommit(pool: Pool): void {
  const { verify } = pool.options;
  pool.options.verify = (client, done) => {
    const begin = (error?: Error) =>
      error ? done(error) : client.query('BEGIN', (failure) => done(failure ?? undefined));
    verify?.(client, (error) => {
      begin(error);
      asSavepoints(client);
    });
  };
}

function asSavepoints(client: Pick<Client, 'query'>): void {
  const query = client.query.bind(client) as (...args: unknown[]) => unknown;
  client.query = ((text: unknown, ...others: unknown[]) =>
    query(typeof text === 'string' ? asSavepoint(text) : text, ...others)) as typeof client.query;
}

function asSavepoint(text: string): string {
  if (text === 'COMMIT') return 'RELEASE SAVEPOINT scratch';
  if (text === 'ROLLBACK') return 'ROLLBACK TO SAVEPOINT scratch';
  return text.replace(/^BEGIN\b/, 'SAVEPOINT scratch');
}

/** Transactions that do all of their work, and are never committed. */
import { lend } from '../runtime/lend.ts';
import type { Client, Pool } from './connect-postgres.ts';
import type { LedgerSale } from './sale-rows.ts';

/**
 * Until the returned function is called, each transaction of this pool has the sale, which the
 * ledger lacks, and is rolled back where it would be committed. One at a time: two would wait for
 * each other.
 */
export function rehearseTransactions(pool: Pool, sale: LedgerSale): () => void {
  const connect = pool.connect.bind(pool);
  const begin = (text: string) => `${text}; ${insertOf(sale)}`;
  async function connectToRehearse(): Promise<Client> {
    const client = await connect();
    const query = client.query.bind(client) as (text: unknown, ...others: unknown[]) => unknown;
    const release = client.release.bind(client);
    const rehearse = (text: unknown, ...others: unknown[]) => {
      if (text === 'COMMIT') return query('ROLLBACK');
      return query(typeof text === 'string' && text.startsWith('BEGIN') ? begin(text) : text, ...others);
    };
    const restore = lend(client, {
      query: rehearse as typeof client.query,
      release: (error) => {
        restore();
        release(error);
      },
    });
    return client;
  }
  // Pool#query passes a function.
  return lend(pool, {
    connect: ((done?: Parameters<typeof connect>[0]) =>
      done ? connect(done) : connectToRehearse()) as typeof pool.connect,
  });
}

/** Several statements in one text take no parameters. All of these values are the code's own. */
function insertOf({ id, name, originalPrice, flashSalePrice, currency, allotment, epoch }: LedgerSale): string {
  return `INSERT INTO sales (id, name, original_price, flash_sale_price, currency, allotment, epoch, starts_at, ends_at)
          VALUES ('${id}', '${name}', ${originalPrice}, ${flashSalePrice}, '${currency}', ${allotment}, ${epoch}, now(), now() + interval '1 hour')`;
}

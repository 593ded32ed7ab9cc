/** What PostgreSQL has of idempotency keys. A key's field in the inventory is: buyer, space, idempotency key. */
import type { Pool, PoolClient } from 'pg';
import { LISTED_MAX } from './audit-report.ts';
import { CHUNK, inSnapshot } from './read-snapshot.ts';

/** Confirmed orders under a key, a chunk at a time, in whatever order. The next chunk is fetched once `take` has done with one. */
export async function eachKeyedOrder(
  pool: Pool,
  saleId: string,
  take: (chunk: readonly { field: string; id: string; quantity: number }[]) => Promise<void>,
): Promise<void> {
  await inSnapshot(pool, async (client) => {
    await client.query(
      `DECLARE each_keyed_order NO SCROLL CURSOR FOR
       SELECT buyer_id || ' ' || idempotency_key AS field, id, quantity
         FROM orders WHERE sale_id = $1 AND status = 'confirmed' AND idempotency_key IS NOT NULL`,
      [saleId],
    );
    for (;;) {
      const { rows } = await client.query<{ field: string; id: string; quantity: number }>(
        `FETCH ${CHUNK} FROM each_keyed_order`,
      );
      if (rows.length === 0) return;
      await take(rows);
    }
  });
}

export async function readKeyOwners(
  client: PoolClient,
  { saleId, keyFields }: { saleId: string; keyFields: readonly string[] },
): Promise<Map<string, string[]>> {
  const owners = new Map<string, string[]>();
  for (let at = 0; at < keyFields.length; at += CHUNK) {
    // A buyer has no space in it, a key may.
    const asked = keyFields.slice(at, at + CHUNK).map((field) => [field, field.indexOf(' ')] as const);
    const { rows } = await client.query<{ field: string; id: string }>(
      `SELECT asked.field, o.id
         FROM unnest($2::text[], $3::text[], $4::text[]) AS asked (field, buyer_id, key)
         JOIN orders o ON o.sale_id = $1 AND o.buyer_id = asked.buyer_id AND o.idempotency_key = asked.key
        WHERE o.status = 'confirmed' ORDER BY o.id`,
      [
        saleId,
        asked.map(([field]) => field),
        asked.map(([field, space]) => field.slice(0, space)),
        asked.map(([field, space]) => field.slice(space + 1)),
      ],
    );
    for (const { field, id } of rows) owners.set(field, [...(owners.get(field) ?? []), id]);
  }
  return owners;
}

export async function readKeysTwice(
  client: PoolClient,
  saleId: string,
): Promise<{ buyerId: string; key: string; orders: number }[]> {
  const { rows } = await client.query<{ buyerId: string; key: string; orders: number }>(
    `SELECT buyer_id AS "buyerId", idempotency_key AS key, count(*)::int AS orders FROM orders
      WHERE sale_id = $1 AND status = 'confirmed' AND idempotency_key IS NOT NULL
      GROUP BY buyer_id, idempotency_key HAVING count(*) > 1 ORDER BY 1, 2 LIMIT ${LISTED_MAX}`,
    [saleId],
  );
  return rows;
}

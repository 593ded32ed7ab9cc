/** Buyers against buyers: somebody else's orders, the same order again, and the others' share. */
import { eventually } from '../support/world.ts';
import { type Family, inParallel, mustHold, onlyThese, tally, times } from './attack.ts';
import type { Target } from './target.ts';

async function place(target: Target, headers: Record<string, string>, url = target.doors.header.url, body = '') {
  const response = await fetch(`${url}/api/flash-sales/${target.saleId}/order`, {
    method: 'POST',
    headers: { ...headers, ...(body === '' ? {} : { 'content-type': 'application/json' }) },
    ...(body === '' ? {} : { body }),
  });
  const told = (await response.json()) as { order_id?: string; code?: string };
  return { ...told, status: response.status };
}

export const buyersFamily: Family = {
  name: 'Buyers',
  attacks: [
    {
      name: 'somebody else’s order: read by its id, by ids near to it, by names near to its buyer’s',
      bound: '1 order, 1,000 ids, 8 names',
      holds: '404, the same words as for an order that is not there',
      async run(target) {
        const { doors } = target;
        const { order_id: id = '' } = await place(target, { 'x-user-id': 'victim' });
        const read = async (order: string, buyer: string): Promise<[number, string]> => {
          const response = await fetch(`${doors.header.url}/api/orders/${order}`, { headers: { 'x-user-id': buyer } });
          const { code, detail } = (await response.json()) as { code: string; detail: string };
          return [response.status, `${code} ${detail}`];
        };
        const names = ['Victim', 'VICTIM', 'victim.', 'victim*', 'victi', 'victim1', 'v%69ctim', 'admin'];
        const answers = [];
        for (const name of names) answers.push(await read(id, name));
        const near = times(1_000).map((i) => id.slice(0, -3) + i.toString(32).toUpperCase().padStart(3, '0'));
        answers.push(
          ...(await inParallel(
            near.filter((other) => other !== id),
            25,
            (other) => read(other, 'thief'),
          )),
        );
        onlyThese(
          answers.map(([status]) => status),
          [404],
        );
        mustHold(
          new Set(answers.map(([, words]) => words)).size === 1,
          'the words tell whether there is such an order',
        );
        mustHold((await read(id, 'victim'))[0] === 200, 'its own buyer cannot read it');
        return tally(answers.map(([status]) => status));
      },
    },
    {
      name: 'one Idempotency-Key at two API processes at once, again and again, with other bodies, by other buyers',
      bound: '20 keys × 50 at a time',
      holds: 'one order a key; another body 422; another buyer has an order of his own',
      async run(target) {
        const { doors, system, token } = target;
        /** Buyer and key → the order that was told. */
        const told = new Map<string, string>();
        for (let i = 0; i < 20; i++) {
          const buyer = `racer-${i}`;
          const authorization = `Bearer ${await token(buyer)}`;
          const all = await Promise.all(
            times(50).map((n) =>
              n % 2 === 0
                ? place(target, { 'x-user-id': buyer, 'idempotency-key': `race-${i}` })
                : place(target, { authorization, 'idempotency-key': `race-${i}` }, doors.secret.url),
            ),
          );
          const ids = new Set(all.flatMap(({ order_id }) => order_id ?? []));
          mustHold(ids.size === 1, `${ids.size} orders for one key`);
          told.set(`${buyer} race-${i}`, [...ids][0] as string);
          const other = await place(
            target,
            { 'x-user-id': buyer, 'idempotency-key': `race-${i}` },
            doors.header.url,
            '{"quantity":2}',
          );
          mustHold(other.status === 422, `another body: ${other.status}`);
          const foreign = await place(target, { 'x-user-id': `${buyer}-else`, 'idempotency-key': `race-${i}` });
          mustHold(!ids.has(foreign.order_id ?? ''), 'another buyer was given the order');
          if (foreign.order_id) told.set(`${buyer}-else race-${i}`, foreign.order_id);
        }
        const written = async (): Promise<{ whose: string; id: string }[]> => {
          const { rows } = await system.ledger.query(
            `SELECT buyer_id || ' ' || idempotency_key AS whose, id FROM orders
              WHERE sale_id = $1 AND idempotency_key LIKE 'race-%' AND status = 'confirmed'`,
            [target.saleId],
          );
          return rows;
        };
        await eventually('the ledger has an order for each buyer and key', 10_000, async () => {
          const found = new Set((await written()).map(({ whose }) => whose));
          return [...told.keys()].every((whose) => found.has(whose));
        });
        const rows = await written();
        mustHold(rows.length === told.size, `${rows.length} orders in the ledger for ${told.size} buyers and keys`);
        for (const { whose, id } of rows) mustHold(told.get(whose) === id, `${whose} has another order in the ledger`);
        return `${rows.length} orders in the ledger for 20 keys, of the racers and of others who used the same`;
      },
    },
    {
      name: 'names and keys that would meet in one record: a space, a colon, a bar between them',
      bound: '5 pairs',
      holds: 'two buyers, two orders',
      async run(target) {
        const pairs: [[string, string], [string, string]][] = [
          [
            ['a', 'b c'],
            ['a', 'b  c'],
          ],
          [
            ['a|b', 'c'],
            ['a', 'b|c'],
          ],
          [
            ['a:b', 'c'],
            ['a', 'b:c'],
          ],
          [
            ['x', '1'],
            ['x1', ''],
          ],
          [
            ['n', '"k"'],
            ['n', 'kk'],
          ],
        ];
        for (const [[buyer, key], [otherBuyer, otherKey]] of pairs) {
          const one = await place(target, { 'x-user-id': buyer, 'idempotency-key': key });
          const two = await place(target, {
            'x-user-id': otherBuyer,
            ...(otherKey === '' ? {} : { 'idempotency-key': otherKey }),
          });
          mustHold(one.status === 200 && two.status === 200, `${buyer} ${key}: ${one.status}, ${two.status}`);
          mustHold(one.order_id !== two.order_id, `${buyer} ${key} and ${otherBuyer} ${otherKey} met`);
        }
        return 'none met';
      },
    },
    {
      name: 'one buyer who asks without end, beside another one',
      bound: '20,000 orders of one name, 50 at a time',
      holds: 'he is told 429; the other one is served',
      async run(target) {
        const seen = await target.beside('header', () =>
          inParallel(times(20_000), 50, async () => {
            const response = await target.order({ 'x-user-id': 'greedy' });
            await response.arrayBuffer();
            return response.status;
          }),
        );
        onlyThese(seen.result, [200, 429, 503]);
        mustHold(seen.result.filter((status) => status === 200).length < 5_000, 'he was hardly held back');
        mustHold(seen.served >= seen.asked * 0.9, `the other one: ${seen.served} of ${seen.asked} served`);
        return `${tally(seen.result)}; the other one: ${seen.served} of ${seen.asked} served, the slowest in ${seen.worstMs.toFixed(0)} ms`;
      },
    },
  ],
};

/** Two hundred thousand hostile requests: what stays of them in memory, in the log and in Redis. */
import { type Family, inParallel, mustHold, onlyThese, tally, times } from './attack.ts';
import type { Target } from './target.ts';

/** One of a dozen kinds of requests that must be refused, each with words of its own. */
function hostile({ doors, saleId }: Target, i: number): Promise<Response> {
  const { url } = doors.header;
  const post = (path: string, headers: Record<string, string>, body?: string): Promise<Response> =>
    fetch(url + path, { method: 'POST', headers, ...(body === undefined ? {} : { body }) });
  const json = { 'content-type': 'application/json', 'x-user-id': `hostile-${i}` };
  const order = `/api/flash-sales/${saleId}/order`;
  switch (i % 10) {
    case 0:
      return post(`/api/flash-sales/none-${i}/order`, { 'x-user-id': `hostile-${i}` });
    case 1:
      return post(order, json, `{"quantity":-${i}}`);
    case 2:
      return post(order, json, `{"field-${i}":1}`);
    case 3:
      return post(order, json, `{"quantity":${'9'.repeat(i % 50)}`);
    case 4:
      return post(order, { 'x-user-id': `a b ${i}` });
    case 5:
      return post(order, { 'x-user-id': `hostile-${i}`, 'idempotency-key': `"${i}` });
    case 6:
      return fetch(`${url}/api/orders/${saleId}-${String(i).padStart(26, '0')}`, { headers: { 'x-user-id': `h${i}` } });
    case 7:
      return fetch(`${url}/made-up/${i}?${i}`);
    case 8:
      return fetch(`${doors.secret.url}/api/orders/none`, { headers: { authorization: `Bearer ${i}.${i}.${i}` } });
    default:
      return fetch(`${url}/%${i % 10}z${i}`);
  }
}

export const volume: Family = {
  name: 'Volume',
  attacks: [
    {
      name: 'refused requests of ten kinds, each with words of its own',
      bound: '200,000, 100 at a time, at most 60 s',
      holds: 'memory as before; less than a byte of lines each; no key of Redis stays',
      async run(target) {
        const { system, logBytes, residentMb } = target;
        // Its first ones fill what Node keeps at hand.
        await inParallel(times(5_000), 100, async (i) => void (await (await hostile(target, i)).arrayBuffer()));
        const before = { mb: residentMb('header'), bytes: logBytes(), keys: await system.redis.dbsize() };
        const end = performance.now() + 60_000;
        const told = await inParallel(times(200_000), 100, async (i) => {
          if (performance.now() > end) return 'not sent';
          const response = await hostile(target, i + 5_000);
          await response.arrayBuffer();
          return response.status;
        });
        onlyThese(told, [400, 401, 404, 503, 'not sent']);
        const sent = told.filter((status) => status !== 'not sent').length;
        const grown = residentMb('header') - before.mb;
        const bytes = logBytes() - before.bytes;
        const keys = (await system.redis.dbsize()) - before.keys;
        mustHold(grown < 150, `the process has grown by ${grown.toFixed(0)} MB`);
        mustHold(bytes < sent, `${bytes} bytes of lines for ${sent} requests`);
        mustHold(keys < 50, `${keys} keys more`);
        return `${sent.toLocaleString('en')} sent: ${tally(told)}; memory ${grown.toFixed(0)} MB more, ${bytes} bytes of lines, ${keys} keys more`;
      },
    },
  ],
};

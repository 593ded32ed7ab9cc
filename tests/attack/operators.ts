/** The operator's door: guesses, timing, the hosts that it listens on, the board and the reference. */
import { connect } from 'node:net';
import { networkInterfaces } from 'node:os';
import { type Family, inParallel, mustHold, onlyThese, tally, times } from './attack.ts';
import type { Target } from './target.ts';

const basic = (text: string): string => `Basic ${Buffer.from(text).toString('base64')}`;

async function ask({ adminUrl }: Target, authorization: string, path = '/api/admin/sales'): Promise<number> {
  const response = await fetch(adminUrl + path, { headers: { authorization }, redirect: 'manual' });
  await response.arrayBuffer();
  return response.status;
}

function medianOf(list: readonly number[]): number {
  return list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)] ?? 0;
}

async function isOpen(host: string, port: number): Promise<boolean> {
  const socket = connect({ host, port, timeout: 500 });
  return new Promise((resolve) => {
    const end = (open: boolean): void => {
      socket.destroy();
      resolve(open);
    };
    socket
      .once('connect', () => end(true))
      .once('error', () => end(false))
      .once('timeout', () => end(false));
  });
}

export const operators: Family = {
  name: 'Operators',
  attacks: [
    {
      name: 'the operator’s token: guesses, parts of it, other schemes, buyers’ tokens',
      bound: '1,000 guesses and 12 forms at two doors',
      holds: '401; nothing is changed',
      async run(target) {
        const { adminToken, token } = target;
        const forms = [
          `Bearer ${adminToken.slice(0, -1)}`,
          `Bearer ${adminToken}x`,
          `Bearer ${adminToken.toUpperCase()}`,
          `Bearer ${adminToken}, Bearer x`,
          `Basic ${adminToken}`,
          basic(`admin:${adminToken}x`),
          basic(adminToken),
          basic(`${adminToken}:`),
          `Digest ${adminToken}`,
          'Bearer undefined',
          'Bearer [object Object]',
          `Bearer ${await token('admin', { role: 'admin', scope: 'admin' })}`,
        ];
        const told: number[] = [];
        for (const form of forms)
          for (const path of ['/api/admin/sales', '/admin/queues']) told.push(await ask(target, form, path));
        told.push(
          ...(await inParallel(times(1_000), 50, (i) => ask(target, `Bearer guess-${i}-${'x'.repeat(i % 20)}`))),
        );
        onlyThese(told, [401]);
        return tally(told);
      },
    },
    {
      name: 'a smoke test: the operator’s token by the time that a refusal takes',
      bound: '2 × 1,500 guesses in turns: wrong in its first, and only in its last character',
      holds: 'no difference of 100 µs; one of nanoseconds, as of a comparison character by character, is not found',
      async run(target) {
        const { adminToken } = target;
        const first = `x${adminToken.slice(1)}`;
        const last = `${adminToken.slice(0, -1)}x`;
        const [ofFirst, ofLast]: [number[], number[]] = [[], []];
        for (let i = 0; i < 1_500; i++) {
          for (const [guess, list] of i % 2 === 0
            ? ([
                [first, ofFirst],
                [last, ofLast],
              ] as const)
            : ([
                [last, ofLast],
                [first, ofFirst],
              ] as const)) {
            const startedAt = performance.now();
            await ask(target, `Bearer ${guess}`);
            list.push((performance.now() - startedAt) * 1_000);
          }
        }
        const difference = Math.abs(medianOf(ofFirst) - medianOf(ofLast));
        const noise = Math.max(
          ...[ofFirst, ofLast].map((list) => Math.abs(medianOf(list.slice(0, 750)) - medianOf(list.slice(750)))),
        );
        // A comparison that ends at the first difference is quicker by nanoseconds a character, which no network shows. This finds only
        // what is far worse, such as a look into a store; that the comparison takes constant time is to be read in operator-identity.ts.
        mustHold(
          difference < Math.max(100, noise * 3),
          `${difference.toFixed(0)} µs apart, noise ${noise.toFixed(0)} µs`,
        );
        return `medians ${difference.toFixed(1)} µs apart; two halves of one guess ${noise.toFixed(1)} µs`;
      },
    },
    {
      name: 'the operator’s port and the metrics from another address, by another name',
      bound: 'each address of this machine',
      holds: 'listened for on 127.0.0.1 only; no route of buyers there, none of operators at the buyers’',
      async run(target) {
        const { adminUrl, metricsUrl, doors, adminToken, saleId } = target;
        const others = Object.values(networkInterfaces())
          .flat()
          .flatMap((one) => (one && !one.internal && one.family === 'IPv4' ? [one.address] : []));
        for (const host of [...others, '::1']) {
          for (const url of [adminUrl, metricsUrl])
            mustHold(!(await isOpen(host, Number(new URL(url).port))), `${url} can be reached at ${host}`);
        }
        const headers = { authorization: `Bearer ${adminToken}`, 'x-user-id': 'ann' };
        const atBuyers = await fetch(`${doors.header.url}/api/admin/sales`, { headers });
        const atOperators = await fetch(`${adminUrl}/api/flash-sales/${saleId}/order`, { method: 'POST', headers });
        const metricsAtBuyers = await fetch(`${doors.header.url}/metrics`, { headers });
        onlyThese([atBuyers.status, atOperators.status, metricsAtBuyers.status], [404]);
        return `${others.length} other addresses: refused`;
      },
    },
    {
      name: 'a flood at the metrics’ port',
      bound: '3,000 requests, 50 at a time',
      holds: 'buyers beside it are served',
      async run(target) {
        const seen = await target.beside('header', () =>
          inParallel(times(3_000), 50, async () => {
            try {
              const response = await fetch(target.metricsUrl);
              await response.arrayBuffer();
              return response.status;
            } catch {
              return 'cut';
            }
          }),
        );
        onlyThese(seen.result, [200, 'cut']);
        mustHold(seen.served > 0, 'nobody was served beside it');
        return `${tally(seen.result)}; a buyer beside it: ${seen.served} of ${seen.asked} served, the slowest in ${seen.worstMs.toFixed(0)} ms`;
      },
    },
    {
      name: 'scripts in the names that the board shows, and the board changed without a look',
      bound: '3 orders, 4 requests',
      holds: 'the board gives names as JSON only, its policy lets no script of a page run, and it changes nothing',
      async run(target) {
        const { order, adminUrl, adminToken } = target;
        const buyer = '<img/src=x/onerror=alert(1)>';
        for (let i = 0; i < 3; i++) await order({ 'x-user-id': buyer, 'idempotency-key': `</script><script>${i}` });
        const headers = { authorization: basic(`admin:${adminToken}`) };
        const page = await fetch(`${adminUrl}/admin/queues`, { headers });
        const policy = page.headers.get('content-security-policy') ?? '';
        mustHold(
          page.status === 200 && /default-src 'self'/.test(policy),
          `the page: ${page.status}, policy "${policy}"`,
        );
        mustHold(
          !/script-src[^;]*unsafe|default-src[^;]*unsafe/.test(policy),
          `the policy lets scripts of a page run: ${policy}`,
        );
        mustHold(!(await page.text()).includes('onerror'), 'a buyer’s name stands in the page');
        const data = await fetch(`${adminUrl}/admin/queues/api/queues?activeQueue=confirm-orders&status=completed`, {
          headers,
        });
        const type = data.headers.get('content-type') ?? '';
        mustHold(data.status === 200 && type.includes('application/json'), `the jobs are ${data.status} ${type}`);
        mustHold(data.headers.get('x-content-type-options') === 'nosniff', 'the jobs: no nosniff');
        const told: number[] = [];
        for (const method of ['PUT', 'POST', 'DELETE', 'PATCH']) {
          const changed = await fetch(`${adminUrl}/admin/queues/api/queues/confirm-orders/pause`, { method, headers });
          told.push(changed.status);
        }
        onlyThese(told, [403, 405, 404]);
        return `policy: default-src 'self', no unsafe scripts; changes: ${tally(told)}`;
      },
    },
  ],
};

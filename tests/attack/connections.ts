/** Floods of connections, and senders and readers that take their time. */
import { once } from 'node:events';
import { type Family, mustHold, onlyThese, tally, times } from './attack.ts';
import { openRaw, type RawConnection, request, statusesOf } from './raw-connection.ts';
import type { Beside, Target } from './target.ts';

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Opened in groups, so that the kernel's queue of connections is not what is attacked. */
async function openMany(port: number, count: number, text: string): Promise<RawConnection[]> {
  const all: RawConnection[] = [];
  while (all.length < count) {
    const group = times(Math.min(1_000, count - all.length)).map(() => openRaw(port, text));
    all.push(...group);
    await Promise.all(
      group.map(({ socket }) => Promise.race([once(socket, 'connect'), once(socket, 'close'), pause(2_000)])),
    );
  }
  return all;
}

/** Keeps them for so long, and sends `drip` on each again and again. */
async function hold(all: readonly RawConnection[], ms: number, drip = ''): Promise<void> {
  const end = performance.now() + ms;
  while (performance.now() < end) {
    if (drip !== '') for (const { socket, isCut } of all) if (!isCut) socket.write(drip, 'latin1');
    await pause(200);
  }
}

function closeAll(all: readonly RawConnection[]): void {
  for (const { socket } of all) socket.destroy();
}

/** Opens, keeps for longer than RECEIVE_TIMEOUT_MS (3 s), closes; a good buyer beside it. */
async function held(
  { doors, beside }: Target,
  options: { count: number; text: string; drip?: string; ms?: number },
): Promise<Beside<{ cut: number; told: number[]; open: number }>> {
  const { count, text, drip, ms = 6_000 } = options;
  return beside('header', async () => {
    const all = await openMany(doors.header.port, count, text);
    try {
      await hold(all, ms, drip);
      const told = all.flatMap(({ said }) => statusesOf(said));
      return { cut: all.filter(({ isCut }) => isCut).length, told, open: all.length };
    } finally {
      closeAll(all);
    }
  });
}

function besideInWords({ asked, served, worstMs }: Beside<unknown>): string {
  mustHold(served > 0, `a good buyer asked ${asked} times beside it and was never served`);
  return `a buyer beside it: ${served} of ${asked} served, the slowest in ${worstMs.toFixed(0)} ms`;
}

const orderHead = (saleId: string): string =>
  `POST /api/flash-sales/${saleId}/order HTTP/1.1\r\nHost: a\r\nX-User-ID: slow\r\nContent-Type: application/json\r\n`;

export const connections: Family = {
  name: 'Connections',
  attacks: [
    {
      name: '16,000 connections that say nothing',
      bound: '16,000 connections, 6 s',
      holds:
        'no more than MAX_CONNECTIONS (15,000) are held, each is told 408 and cut; whoever has a connection is served',
      async run(target) {
        const seen = await held(target, { count: 16_000, text: '' });
        mustHold(seen.result.cut === seen.result.open, `${seen.result.open - seen.result.cut} were never cut`);
        return `${seen.result.cut} cut, told ${tally(seen.result.told)}; ${besideInWords(seen)}`;
      },
    },
    {
      name: 'connections that are opened and thrown away',
      bound: '20,000, 400 at a time',
      holds: 'nothing stays',
      async run({ doors }) {
        for (let i = 0; i < 50; i++) {
          const group = times(400).map(() => openRaw(doors.header.port, i % 2 === 0 ? '' : 'GET / HTTP/1.1\r\n'));
          await Promise.all(group.map(({ socket }) => Promise.race([once(socket, 'connect'), once(socket, 'close')])));
          for (const { socket } of group) socket.resetAndDestroy();
        }
        return '20,000 reset';
      },
    },
    {
      name: 'headers, a byte at a time',
      bound: '2,000 connections, 6 s',
      holds: '408, then cut',
      async run(target) {
        const text = `${orderHead(target.saleId)}X-Slow: `;
        const seen = await held(target, { count: 2_000, text, drip: 'x' });
        onlyThese(seen.result.told, [408]);
        mustHold(seen.result.cut === 2_000, `${2_000 - seen.result.cut} were never cut`);
        return `told ${tally(seen.result.told)}; ${besideInWords(seen)}`;
      },
    },
    {
      name: 'bodies, a byte at a time, with a length and in chunks',
      bound: '2 × 1,000 connections, 6 s',
      holds: '408, then cut; they take nobody’s place',
      async run(target) {
        const head = orderHead(target.saleId);
        const a = await held(target, { count: 1_000, text: `${head}Content-Length: 9000\r\n\r\n{`, drip: ' ' });
        const b = await held(target, {
          count: 1_000,
          text: `${head}Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n`,
          drip: '1\r\n \r\n',
        });
        const told = [...a.result.told, ...b.result.told];
        onlyThese(told, [408]);
        mustHold(a.result.cut + b.result.cut === 2_000, 'some were never cut');
        return `told ${tally(told)}; ${besideInWords(a)}`;
      },
    },
    {
      name: 'answers that are not fetched',
      bound: '500 connections with 30 requests each, 6 s',
      holds: 'no more than their buffers is kept for them',
      async run(target) {
        const { doors, beside, residentMb } = target;
        const before = residentMb('header');
        const seen = await beside('header', async () => {
          const text = request('GET /docs/static/swagger-ui-bundle.js').repeat(30);
          const all = times(500).map(() => openRaw(doors.header.port, text));
          for (const { socket } of all) socket.pause();
          await hold(all, 6_000);
          const grown = residentMb('header') - before;
          closeAll(all);
          return grown;
        });
        // The kernel keeps what it can for each; a copy of each file for each connection would be 700 MB.
        mustHold(seen.result < 350, `the process has grown by ${seen.result.toFixed(0)} MB`);
        return `grown by ${seen.result.toFixed(0)} MB; ${besideInWords(seen)}`;
      },
    },
    {
      name: 'requests sent ahead without waiting',
      bound: '200 connections with 5,000 requests each, at most 20 s',
      holds: 'cut above 32 unanswered ones',
      async run(target) {
        const { doors, beside, saleId } = target;
        const seen = await beside('header', async () => {
          const all = times(200).map((i) =>
            openRaw(doors.header.port, request(`GET /api/flash-sales/${saleId}`, [`X-User-ID: p${i}`]).repeat(5_000)),
          );
          const end = performance.now() + 20_000;
          while (all.some(({ isCut }) => !isCut) && performance.now() < end) await pause(100);
          const cut = all.filter(({ isCut }) => isCut).length;
          closeAll(all);
          return cut;
        });
        mustHold(seen.result === 200, `${200 - seen.result} were never cut`);
        return `${seen.result} cut; ${besideInWords(seen)}`;
      },
    },
    {
      name: 'many whole requests on many connections (a flood that asks again at once)',
      bound: '300 connections, 5 s',
      holds: 'told 503 or 429 at once; operators, and health, are answered',
      async run(target) {
        const { adminUrl, adminToken, saleId, beside, order } = target;
        const told: (string | number)[] = [];
        let worst = 0;
        const seen = await beside('header', async () => {
          const end = performance.now() + 5_000;
          const lane = async (lane: number): Promise<void> => {
            for (let i = 0; performance.now() < end; i++) {
              const response = await order({ 'x-user-id': `flood-${lane}-${i}` });
              await response.arrayBuffer();
              told.push(response.status);
            }
          };
          const operator = async (): Promise<void> => {
            while (performance.now() < end) {
              const startedAt = performance.now();
              const response = await fetch(`${adminUrl}/api/admin/sales/${saleId}`, {
                headers: { authorization: `Bearer ${adminToken}` },
              });
              await response.arrayBuffer();
              mustHold(response.status === 200, `an operator was told ${response.status}`);
              worst = Math.max(worst, performance.now() - startedAt);
              await pause(200);
            }
          };
          await Promise.all([...times(300).map(lane), operator()]);
        });
        onlyThese(told, [200, 429, 503]);
        return `${tally(told)}; an operator’s slowest answer ${worst.toFixed(0)} ms; ${besideInWords(seen)}`;
      },
    },
  ],
};

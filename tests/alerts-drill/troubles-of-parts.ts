/** What ails a part or a process, done to it. */

import { signalProcess } from '@flash-sale/launcher/process-table.ts';
import pg from 'pg';
import { eventually } from '../support/world.ts';
import { confineMemory } from './confine-memory.ts';
import { startReaders } from './steady-crowd.ts';
import type { Trouble } from './trouble.ts';
import { makeSale, type WatchedSystem } from './watched-system.ts';

const MIB = 2 ** 20;
const REDIS_MAX_BYTES = 64 * MIB;
const READERS = 50;
/** Part of what is allowed that is used up: above the 80 % of the rules. */
const NEARLY_ALL = 0.88;
/** Milliseconds for which the API is kept from the processor, and for which it has it. */
const FROZEN_MS = 150;
const AWAKE_MS = 350;
/** Some milliseconds of Redis' processor; and how many of them wait for it at a time: it must not wait for us, whom others may keep waiting. */
const SLOW_SCRIPT = 'for i = 1, 1000000 do end';
const SLOW_SCRIPTS = 8;
/** Above what is told of. */
const SALES = 51;
const FILLER = 'somebody-elses';

/** @returns a field of INFO */
async function redisNumber({ redis }: WatchedSystem, section: string, field: string): Promise<number> {
  return Number(new RegExp(`^${field}:(\\d+)`, 'm').exec(await redis.info(section))?.[1]);
}

/** Sets them. @returns what sets them to what they were */
async function configure({ redis }: WatchedSystem, settings: Record<string, string | number>) {
  const before: [string, string][] = [];
  for (const [name, value] of Object.entries(settings)) {
    const [, old = ''] = (await redis.config('GET', name)) as [string, string];
    before.unshift([name, old]);
    await redis.config('SET', name, value);
  }
  return async () => {
    for (const [name, old] of before) await redis.config('SET', name, old);
  };
}

export const troublesOfParts: readonly Trouble[] = [
  {
    alerts: ['LedgerAway'],
    what: 'neither API nor worker reaches PostgreSQL (connections are cut and refused)',
    async make({ ways }) {
      const both = [ways.apiToLedger, ways.workerToLedger];
      await Promise.all(both.map((way) => way.refuse()));
      return () => Promise.all(both.map((way) => way.heal()));
    },
  },
  {
    alerts: ['RedisAway'],
    what: 'Redis is frozen (SIGSTOP)',
    async make({ redisServer }) {
      const pid = redisServer.pid as number;
      signalProcess(pid, 'SIGSTOP');
      return () => signalProcess(pid, 'SIGCONT');
    },
  },
  {
    alerts: ['RedisForgets'],
    what: '`CONFIG SET appendonly no`',
    make: (system) => configure(system, { appendonly: 'no' }),
  },
  {
    alerts: ['RedisMemoryHigh'],
    what: `\`maxmemory\` ${REDIS_MAX_BYTES / MIB} MiB, and a key of somebody else's that grows up to ${NEARLY_ALL * 100} % of it`,
    async make(system) {
      const restore = await configure(system, { maxmemory: REDIS_MAX_BYTES });
      const used = await redisNumber(system, 'memory', 'used_memory');
      await system.redis.setrange(FILLER, Math.floor(REDIS_MAX_BYTES * NEARLY_ALL - used), '.');
      return async () => {
        await system.redis.unlink(FILLER);
        await restore();
      };
    },
  },
  {
    alerts: ['RedisCpuHigh'],
    what: `somebody has Redis carry out a script that only counts (\`${SLOW_SCRIPT}\`), again and again`,
    async make({ redis }) {
      let busy = true;
      const work = Promise.all(
        Array.from({ length: SLOW_SCRIPTS }, async () => {
          while (busy) await redis.eval(SLOW_SCRIPT, 0);
        }),
      );
      return async () => {
        busy = false;
        await work;
      };
    },
  },
  {
    alerts: ['PostgresConnectionsHigh'],
    what: `somebody opens connections to PostgreSQL until ${NEARLY_ALL * 100} % of \`max_connections\` are in use`,
    async make({ ledger, databaseUrl }) {
      const { rows } = await ledger.query<{ used: number; most: number }>(
        `SELECT sum(numbackends)::int AS used, current_setting('max_connections')::int AS most FROM pg_stat_database`,
      );
      const { used, most } = rows[0] as { used: number; most: number };
      const clients: pg.Client[] = [];
      for (let open = used; open < most * NEARLY_ALL; open++) {
        const client = new pg.Client({ connectionString: databaseUrl });
        clients.push(client);
        await client.connect();
      }
      return () => Promise.all(clients.map((client) => client.end()));
    },
  },
  {
    alerts: ['PoolExhausted'],
    what: `PostgreSQL answers the API 150 ms later, and ${READERS} buyers read their order again and again`,
    async make({ ways, url, crowd }) {
      await eventually('an order was accepted', 30_000, () => crowd.lastOrder() !== null);
      ways.apiToLedger.delay('down', 150);
      const endReading = startReaders(url, crowd.lastOrder() as string, READERS);
      return async () => {
        await ways.apiToLedger.heal();
        await endReading();
      };
    },
  },
  {
    alerts: ['EventLoopLate'],
    what: `the API is kept from the processor for ${FROZEN_MS} ms of every ${FROZEN_MS + AWAKE_MS} (SIGSTOP, SIGCONT)`,
    async make({ api }) {
      let frozen = false;
      let timer: NodeJS.Timeout;
      function turn(): void {
        frozen = !frozen;
        api.child.kill(frozen ? 'SIGSTOP' : 'SIGCONT');
        timer = setTimeout(turn, frozen ? FROZEN_MS : AWAKE_MS);
      }
      turn();
      return () => {
        clearTimeout(timer);
        api.child.kill('SIGCONT');
      };
    },
  },
  {
    alerts: ['LogLinesLost'],
    what: "the disk of the API's accepted-order log is full (a small one of its own, filled)",
    async make({ logDisk }) {
      logDisk.fill();
      return () => logDisk.free();
    },
  },
  {
    alerts: ['MemoryHigh'],
    what: `the API is put into a control group whose memory it uses ${NEARLY_ALL * 100} % of, and is then given more`,
    async make({ api, afterwards }) {
      const { free, remove } = confineMemory(api.child.pid as number, NEARLY_ALL);
      afterwards.push(remove);
      return free;
    },
  },
  {
    alerts: ['RedisEvicts'],
    what: "`maxmemory-policy volatile-lru`, and keys of somebody else's until some were thrown away",
    async make(system) {
      const used = await redisNumber(system, 'memory', 'used_memory');
      const restore = await configure(system, { 'maxmemory-policy': 'volatile-lru', maxmemory: used + 4 * MIB });
      const before = await redisNumber(system, 'stats', 'evicted_keys');
      const names: string[] = [];
      await eventually('keys are thrown away', 30_000, async () => {
        names.push(`${FILLER}-${names.length}`);
        await system.redis.set(names.at(-1) as string, '.'.repeat(MIB / 4), 'EX', 600);
        return (await redisNumber(system, 'stats', 'evicted_keys')) > before;
      });
      return async () => {
        await system.redis.unlink(...names);
        await restore();
      };
    },
  },
  {
    alerts: ['SalesLeftOut'],
    what: `${SALES} sales are on, and are then long over`,
    async make({ url, ledger }) {
      const names: string[] = [];
      for (let i = 0; i < SALES; i++) {
        names.push(`drill-many-${i}`);
        await makeSale(url, names.at(-1) as string, 1);
      }
      return () =>
        ledger.query(
          "UPDATE sales SET starts_at = now() - interval '3 days', ends_at = now() - interval '2 days' WHERE id = ANY($1)",
          [names],
        );
    },
  },
];

/** What hurts a sale, done to it. */
import { startFlood } from './steady-crowd.ts';
import type { Trouble } from './trouble.ts';
import { SALE_ID, SOLD_OUT_ID } from './watched-system.ts';

/** Milliseconds of Redis' answers on their way, one way: an order waits for both, at least once. */
const SLOW_MS = 150;
const FLOOD_CONNECTIONS = 60;

export const troublesOfSale: readonly Trouble[] = [
  {
    alerts: ['ConservationBroken'],
    what: 'somebody writes to Redis: a unit more is available in the inventory',
    async make({ redis, keys }) {
      await redis.hincrby(keys.inventory, 'available', 1);
      return () => redis.hincrby(keys.inventory, 'available', -1);
    },
  },
  {
    alerts: ['LedgerApart'],
    what: "somebody writes to PostgreSQL: five units more are in the ledger's allotment",
    withoutCrowd: true,
    async make({ ledger }) {
      const add = (units: number) =>
        ledger.query('UPDATE sales SET allotment = allotment + $1 WHERE id = $2', [units, SALE_ID]);
      await add(5);
      return () => add(-5);
    },
  },
  {
    alerts: ['OrdersOrphaned', 'BacklogTooLong', 'LedgerBehind'],
    what: "somebody holds the sale's row in PostgreSQL (`SELECT … FOR UPDATE`, and no end), while the crowd orders",
    async make({ ledger }) {
      const holder = await ledger.connect();
      await holder.query('BEGIN');
      await holder.query('SELECT id FROM sales WHERE id = $1 FOR UPDATE', [SALE_ID]);
      return async () => {
        await holder.query('ROLLBACK');
        holder.release();
      };
    },
  },
  {
    alerts: ['OrdersRejected'],
    what: "somebody writes to PostgreSQL: the ledger's allotment is what is sold, and the inventory goes on promising",
    async make({ ledger }) {
      const { rows } = await ledger.query<{ allotment: number }>('SELECT allotment FROM sales WHERE id = $1', [
        SALE_ID,
      ]);
      await ledger.query('UPDATE sales SET allotment = sold WHERE id = $1', [SALE_ID]);
      return () => ledger.query('UPDATE sales SET allotment = $1 WHERE id = $2', [rows[0]?.allotment, SALE_ID]);
    },
  },
  {
    alerts: ['NoWorker', 'ProcessAway'],
    what: 'the worker is frozen (SIGSTOP)',
    async make({ worker }) {
      worker.child.kill('SIGSTOP');
      return () => worker.child.kill('SIGCONT');
    },
  },
  {
    alerts: ['InventoryClosed'],
    what: "Redis loses the sale's inventory (its key is deleted), while the worker has no way to PostgreSQL",
    async make({ redis, keys, ways }) {
      await ways.workerToLedger.refuse();
      await redis.del(keys.inventory);
      return () => ways.workerToLedger.heal();
    },
  },
  {
    alerts: ['ErrorsHigh', 'BreakerOpen'],
    what: 'the API sends to Redis and hears nothing any more (its answers are held)',
    async make({ ways }) {
      ways.apiToRedis.hold('down');
      return () => ways.apiToRedis.heal();
    },
  },
  {
    alerts: ['LatencyHigh'],
    what: `what the API sends to Redis, and hears from it, takes ${SLOW_MS} ms each way`,
    async make({ ways }) {
      for (const direction of ['up', 'down'] as const) ways.apiToRedis.delay(direction, SLOW_MS);
      return () => ways.apiToRedis.heal();
    },
  },
  {
    alerts: ['Shedding', 'CpuHigh'],
    what: `a flood: ${FLOOD_CONNECTIONS} connections order as fast as they are refused`,
    async make({ url }) {
      return startFlood(url, SOLD_OUT_ID, FLOOD_CONNECTIONS);
    },
  },
];

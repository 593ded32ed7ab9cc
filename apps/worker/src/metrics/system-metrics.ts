/**
 * Metrics of the whole system, which every worker reports: sales, queue, and whether the
 * dependencies answer.
 */
import { type Metrics, type Sample, samplesBy } from '@flash-sale/core/runtime/metrics.ts';
import type { SystemSnapshot } from './read-system.ts';

type Sale = SystemSnapshot['sales'][number];

/** No sample for a number that could not be read. */
const sample = (value: number | null | undefined, labels: Sample['labels'] = {}): Sample[] =>
  value === null || value === undefined ? [] : [{ labels, value }];

const OF_SALES: readonly [name: string, help: string, value: (sale: Sale) => number | undefined][] = [
  ['flash_sale_epoch', "Epoch of the sale's inventory in the ledger.", (sale) => sale.epoch],
  [
    'flash_sale_inventory_closed_seconds',
    'Time for which the inventory has been closed; 0 while it is open.',
    (sale) => sale.redis?.closedS,
  ],
  [
    'flash_sale_reservations',
    'Reservations: orders that hold units and are not finished.',
    (sale) => sale.redis?.reservations,
  ],
  [
    'flash_sale_redelivered_reservations',
    'Reservations that the reaper enqueued again.',
    (sale) => sale.redis?.redelivered,
  ],
  [
    'flash_sale_oldest_reservation_seconds',
    'Age of the oldest reservation; 0 without one.',
    (sale) => sale.redis?.oldestReservationS,
  ],
];

export function registerSystemMetrics(
  { gauge, counter }: Pick<Metrics, 'gauge' | 'counter'>,
  read: () => Promise<SystemSnapshot>,
): void {
  const bySale = (value: (sale: Sale) => number | undefined) => async (): Promise<Sample[]> =>
    (await read()).sales.flatMap((sale) => sample(value(sale), { sale: sale.id }));

  gauge(
    'flash_sale_dependency_up',
    'Whether the dependency answered this worker in time: 1 or 0.',
    ['dependency'],
    async () => {
      const { redis, postgres } = (await read()).up;
      return samplesBy('dependency', { redis: Number(redis), postgres: Number(postgres) });
    },
  );
  gauge(
    'flash_sale_worker_alive',
    'Whether any worker has sent a heartbeat within the last 15 s: 1 or 0.',
    [],
    async () => {
      const { workerAlive } = await read();
      return sample(workerAlive === null ? null : Number(workerAlive));
    },
  );
  gauge(
    'flash_sale_inventory_units',
    'Units of a sale in the inventory: allotment, available, reserved, sold. None while the inventory is closed.',
    ['sale', 'state'],
    async () => (await read()).sales.flatMap(({ id, redis }) => samplesBy('state', { ...redis?.units }, { sale: id })),
  );
  gauge('flash_sale_ledger_units', 'Units of a sale in the ledger: allotment, sold.', ['sale', 'state'], async () =>
    (await read()).sales.flatMap(({ id, ledger }) => samplesBy('state', ledger ?? {}, { sale: id })),
  );
  gauge('flash_sale_unmonitored_sales', 'Sales without metrics, because there are too many.', [], async () =>
    sample((await read()).unmonitoredSales),
  );
  for (const [name, help, value] of OF_SALES) gauge(name, help, ['sale'], bySale(value));
  counter(
    'flash_sale_inventory_downtime_seconds_total',
    'Time for which the inventory was closed before, all rebuilds together.',
    ['sale'],
    bySale((sale) => sale.closedBeforeS),
  );
  gauge('flash_sale_queue_jobs', 'Jobs in the queue, by state.', ['state'], async () =>
    samplesBy('state', (await read()).queue?.jobs ?? {}),
  );
  gauge('flash_sale_queue_oldest_job_seconds', 'Age of the oldest unfinished job; 0 without one.', [], async () =>
    sample((await read()).queue?.oldestS),
  );
}

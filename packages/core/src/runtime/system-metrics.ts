/** What is told of the whole system, and under which name. Who reads it stands in the worker (numbers/read-system.ts). */
import type { Described, Labels, Sample } from './metric-tables.ts';

export interface SaleNumbers {
  readonly id: string;
  /** Of the ledger's row. */
  readonly epoch: number;
  /** Units; null while the ledger is away. */
  readonly ledger: { readonly allotment: number; readonly sold: number } | null;
  /** Units at one instant; unknown while Redis is away. */
  readonly inventory: Readonly<Record<'allotment' | 'available' | 'reserved' | 'sold', number>> | 'closed' | 'unknown';
  /** Seconds since this process first saw the inventory closed; 0 where it is open. */
  readonly closedS: number;
  /** Seconds that it was closed before, by the ledger. */
  readonly closedBeforeS: number;
  /** Orders that hold units and have not ended; null while Redis is away. */
  readonly underWay: { readonly orders: number; readonly redelivered: number; readonly oldestS: number } | null;
}

export interface RedisLoad {
  /** host:port */
  readonly node: string;
  readonly memoryBytes: number;
  /** maxmemory, or the machine's memory where that is not set. */
  readonly memoryLimitBytes: number;
  readonly clients: number;
  /** Carried out since it started. */
  readonly commands: number;
  /** Processor time of the thread that carries commands out, since it started. */
  readonly cpuSeconds: number;
  /** Since it started. */
  readonly evictedKeys: number;
  /** True where maxmemory-policy is not noeviction. */
  readonly mayEvict: boolean;
  /** The append-only file is on, and its last write went well. */
  readonly persists: boolean;
}

export interface SystemNumbers {
  /** Whether the part answered in time. */
  readonly up: Readonly<Record<'redis' | 'postgres', boolean>>;
  readonly sales: readonly SaleNumbers[];
  /** Sales of which nothing is told, because there are too many. */
  readonly salesLeftOut: number;
  /** null while Redis is away. */
  readonly queue: { readonly jobs: Readonly<Record<string, number>>; readonly oldestS: number } | null;
  readonly workerAlive: boolean | null;
  /** One for each master. */
  readonly redis: readonly RedisLoad[];
  /** null while PostgreSQL is away. */
  readonly postgres: { readonly connections: number; readonly connectionsMax: number } | null;
}

type SystemMetric = Described & { readonly samples: (system: SystemNumbers) => Sample[] };

const one = (value: number | null | undefined): Sample[] =>
  value === null || value === undefined ? [] : [{ labels: {}, value }];

const byWord = (label: string, values: Readonly<Record<string, number>>, others: Labels = {}): Sample[] =>
  Object.entries(values).map(([word, value]) => ({ labels: { ...others, [label]: word }, value }));

const bySale = ({ sales }: SystemNumbers, value: (sale: SaleNumbers) => number | undefined): Sample[] =>
  sales.flatMap((sale) => one(value(sale)).map((sample) => ({ ...sample, labels: { sale: sale.id } })));

const byNode = ({ redis }: SystemNumbers, value: (node: RedisLoad) => number): Sample[] =>
  redis.map((node) => ({ labels: { node: node.node }, value: value(node) }));

export const systemMetrics: readonly SystemMetric[] = [
  {
    name: 'flash_sale_up',
    help: 'Whether a part answered the worker in time: 1 or 0.',
    type: 'gauge',
    samples: ({ up }) => byWord('part', { redis: Number(up.redis), postgres: Number(up.postgres) }),
  },
  {
    name: 'flash_sale_worker_alive',
    help: 'Whether any worker has said within the last 15 s that it runs: 1 or 0.',
    type: 'gauge',
    samples: ({ workerAlive }) => one(workerAlive === null ? null : Number(workerAlive)),
  },
  {
    name: 'flash_sale_inventory_units',
    help: 'Units of a sale by the inventory: allotment, available, reserved, sold. None while the inventory is closed.',
    type: 'gauge',
    samples: ({ sales }) =>
      sales.flatMap(({ id, inventory }) =>
        typeof inventory === 'string' ? [] : byWord('state', inventory, { sale: id }),
      ),
  },
  {
    name: 'flash_sale_ledger_units',
    help: 'Units of a sale by the ledger: allotment, sold.',
    type: 'gauge',
    samples: ({ sales }) =>
      sales.flatMap(({ id, ledger }) => (ledger === null ? [] : byWord('state', { ...ledger }, { sale: id }))),
  },
  {
    name: 'flash_sale_sales_left_out',
    help: 'Sales that are not among these numbers, because they are too many.',
    type: 'gauge',
    samples: ({ salesLeftOut }) => one(salesLeftOut),
  },
  {
    name: 'flash_sale_epoch',
    help: "Number of the inventory's life, by the ledger.",
    type: 'gauge',
    samples: (system) => bySale(system, (sale) => sale.epoch),
  },
  {
    name: 'flash_sale_inventory_closed_seconds',
    help: 'Seconds for which the inventory has been closed now; 0 where it is open.',
    type: 'gauge',
    samples: (system) => bySale(system, (sale) => (sale.inventory === 'unknown' ? undefined : sale.closedS)),
  },
  {
    name: 'flash_sale_inventory_closed_seconds_total',
    help: 'Seconds for which the inventory was closed before it was rebuilt, all times together.',
    type: 'counter',
    samples: (system) => bySale(system, (sale) => sale.closedBeforeS),
  },
  {
    name: 'flash_sale_orders_under_way',
    help: 'Orders that hold units and have not ended.',
    type: 'gauge',
    samples: (system) => bySale(system, (sale) => sale.underWay?.orders),
  },
  {
    name: 'flash_sale_orders_orphaned',
    help: 'Orders that the reaper had to hand over again, and that have not ended.',
    type: 'gauge',
    samples: (system) => bySale(system, (sale) => sale.underWay?.redelivered),
  },
  {
    name: 'flash_sale_oldest_order_seconds',
    help: 'Age of the oldest order that has not ended, of the first hundred that the reaper would look at; 0 where there is none.',
    type: 'gauge',
    samples: (system) => bySale(system, (sale) => sale.underWay?.oldestS),
  },
  {
    name: 'flash_sale_queue_jobs',
    help: 'Jobs of the queue by state.',
    type: 'gauge',
    samples: ({ queue }) => (queue === null ? [] : byWord('state', queue.jobs)),
  },
  {
    name: 'flash_sale_queue_oldest_job_seconds',
    help: 'Age of the oldest job that is not done; 0 where there is none.',
    type: 'gauge',
    samples: ({ queue }) => one(queue?.oldestS),
  },
  {
    name: 'flash_sale_redis_memory_bytes',
    help: 'Memory that Redis uses.',
    type: 'gauge',
    samples: (system) => byNode(system, (node) => node.memoryBytes),
  },
  {
    name: 'flash_sale_redis_memory_limit_bytes',
    help: "Redis' maxmemory, or the memory of its machine where that is not set.",
    type: 'gauge',
    samples: (system) => byNode(system, (node) => node.memoryLimitBytes),
  },
  {
    name: 'flash_sale_redis_clients',
    help: 'Connections to Redis.',
    type: 'gauge',
    samples: (system) => byNode(system, (node) => node.clients),
  },
  {
    name: 'flash_sale_redis_commands_total',
    help: 'Commands that Redis has carried out.',
    type: 'counter',
    samples: (system) => byNode(system, (node) => node.commands),
  },
  {
    name: 'flash_sale_redis_cpu_seconds_total',
    help: 'Processor time of the one thread of Redis that carries commands out.',
    type: 'counter',
    samples: (system) => byNode(system, (node) => node.cpuSeconds),
  },
  {
    name: 'flash_sale_redis_evicted_keys_total',
    help: 'Keys that Redis threw away because its memory was full.',
    type: 'counter',
    samples: (system) => byNode(system, (node) => node.evictedKeys),
  },
  {
    name: 'flash_sale_redis_may_evict',
    help: 'Whether maxmemory-policy lets Redis throw keys away: 1 or 0.',
    type: 'gauge',
    samples: (system) => byNode(system, (node) => Number(node.mayEvict)),
  },
  {
    name: 'flash_sale_redis_persists',
    help: 'Whether the append-only file is on and its last write went well: 1 or 0.',
    type: 'gauge',
    samples: (system) => byNode(system, (node) => Number(node.persists)),
  },
  {
    name: 'flash_sale_postgres_connections',
    help: 'Connections to PostgreSQL, of everybody.',
    type: 'gauge',
    samples: ({ postgres }) => one(postgres?.connections),
  },
  {
    name: 'flash_sale_postgres_connections_max',
    help: "PostgreSQL's max_connections.",
    type: 'gauge',
    samples: ({ postgres }) => one(postgres?.connectionsMax),
  },
];

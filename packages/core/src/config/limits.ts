/**
 * Every bound of the system that is not a setting, with its unit and its reason.
 * Settings, which differ from shop to shop, stand in environment.ts.
 */

/** Units one order may ask for. Far above any buyer's cap in use; keeps the amount within the ledger's numeric type. */
export const MAX_QUANTITY = 1_000;

/** Units a sale may be given. 2^31 − 1 is the ledger's integer; one thousandth of it leaves room for every sum. */
export const MAX_ALLOTMENT = 2_000_000;

/** Characters of a sale's id. It is part of every key and every order id, so it must stay short. */
export const MAX_SALE_ID_LENGTH = 64;

/** Characters of a buyer's id: room for a UUID, an e-mail address or the subject of a token. */
export const MAX_BUYER_ID_LENGTH = 128;

/** Characters of a request id that a client may send; it is carried into the job and the logs. */
export const MAX_REQUEST_ID_LENGTH = 64;

/** Characters of an idempotency key: room for a UUID, or two of them. It is kept as long as the sale's keys are. */
export const MAX_IDEMPOTENCY_KEY_LENGTH = 128;

/** Bytes of a request's body. The largest lawful one (a new sale with a description) is under 4 KiB. */
export const BODY_LIMIT_BYTES = 16 * 1024;

/** Bytes of a request's line and headers. A buyer's are under 1 KiB; room for a gateway's token and for the cookies of a browser. */
export const HEADER_LIMIT_BYTES = 16 * 1024;

/**
 * Bytes that a connection may keep here before it is no longer read or written: a body that nobody asked for, answers that nobody
 * fetches. As much as a lawful request is long; Node's own 64 KiB would be a gigabyte over all connections.
 */
export const CONNECTION_BUFFER_BYTES = 16 * 1024;

/** Orders that one call of the commit script may carry: it holds Redis for half a millisecond, and orders wait for that. Releases are few. */
export const COMMIT_BATCH_MAX = 250;

/** Orders that one job may carry: one transaction of some milliseconds, small enough to single out by rows. */
export const JOB_ORDERS_MAX = 1_000;

/** Seconds after which the counters of the global rate limiter are gone (source document). */
export const GLOBAL_RATE_LIMITER_TTL_S = 5;

/**
 * Milliseconds that leased permits may be used, and never longer than the second that they count in; and for which a process that got none
 * refuses everybody without asking again.
 */
export const RATE_LIMIT_LEASE_MS = 50;

/** Seconds after which a buyer's untouched bucket is gone (source document). */
export const BUYER_BUCKET_TTL_S = 3_600;

/** Attempts at one job before its orders are given up; with the backoff below the last one starts 15 s after the first. */
export const CONFIRM_ATTEMPTS = 5;

/** Milliseconds before the second attempt; doubled for each further one (1, 2, 4, 8 s). */
export const CONFIRM_BACKOFF_MS = 1_000;

/**
 * Done jobs that stay visible in Bull Board; the ledger, not the queue, is the record. A full job is about 90 KB, so that these
 * take 18 MB of Redis at most.
 */
export const KEEP_COMPLETED_JOBS = 200;

/** Failed jobs that stay visible, for whoever looks into why: 45 MB of Redis at most. */
export const KEEP_FAILED_JOBS = 500;

/** Reservations, about, that one call of the reaper looks at: it holds Redis for 0.8 ms, or two where all of them have orphaned. */
export const REAPER_LOOK = 200;

/** Orphans of one sale that one turn of the reaper takes into its hands: a large sale whose jobs are all lost is enqueued within a few seconds. */
export const REAPER_TURN_MAX = 20_000;

/**
 * Milliseconds after which the reaper looks through all reservations of a sale again, although none that it saw can have orphaned: one that
 * was reserved earlier may have come meanwhile, to an inventory that was rebuilt. Also the longest time that Redis has for others between two
 * passes over very many, and what a next pass is further ahead than is of a clock that was set back.
 */
export const REAPER_PAUSE_MS = 5_000;

/** Jobs that the reaper reads to learn what the queue is taking care of; with more waiting it leaves orphans to the queue. */
export const REAPER_QUEUE_LOOK_MAX = 2_000;

/** Milliseconds between two looks of a worker at the inventories, to find one that is closed: most of the time that a sale stays closed. */
export const INVENTORY_WATCH_MS = 500;

/**
 * Milliseconds for which a rebuilder has the work to itself; renewed as it goes on. One that is killed keeps a sale closed for that much
 * longer, one that is frozen for longer is overtaken, and refused when it wakes.
 */
export const REBUILD_LEASE_MS = 5_000;

/**
 * Milliseconds that one statement of a rebuild's reading may take, and that its transaction may wait between two of them. A request's bound
 * is too short: the orders of a large sale (MAX_ALLOTMENT) are sorted before the first row comes. It only reads, and holds nobody up; it must
 * end all the same, for the sale is closed meanwhile.
 */
export const REBUILD_STATEMENT_MS = 60_000;

/** Fields, orders or rows that go together while an inventory is rebuilt: a script call of a millisecond or two. */
export const REBUILD_CHUNK = 1_000;

/** Orders of the accepted-order log that inventory and ledger are asked for together. */
export const LOST_LOOK_CHUNK = 1_000;

/** Redeliveries by the reaper after which an order is given up: something about it ends every worker that takes it. */
export const REDELIVERIES_MAX = 8;

/** Milliseconds that a sale's numbers may stay in process memory: under half of the promised second, so that age + fetch stay under it. */
export const SALE_MEMORY_MS = 400;

/**
 * Seconds that the catalogue in Redis (no numbers of stock) counts as fresh. An operator's change clears it; a read that began before
 * the change may write the old one back, so this is also the longest that the old one can be shown.
 */
export const CATALOGUE_TTL_S = 5;

/** Seconds that it is kept beyond that, for reads while PostgreSQL is away. */
export const CATALOGUE_KEPT_S = 3_600;

/** Sales remembered in process memory, known and unknown ids together. */
export const SALE_MEMORY_MAX = 10_000;

/** Seconds that a worker's heartbeat is believed; it is given every third of that. */
export const WORKER_ALIVE_S = 15;

/** Milliseconds after which a stock change that no process finished is finished by the repair loop. */
export const STOCK_CHANGE_REPAIR_MS = 5_000;

/**
 * Milliseconds that a worker's connection to Redis may be silent while an answer is awaited, before it is rebuilt. Longer than
 * BullMQ's own waiting for a job (10 s); a connection that was cut without a word would otherwise stay for a quarter of an hour.
 */
export const WORK_SOCKET_TIMEOUT_MS = 20_000;

/**
 * Milliseconds that a transaction waits for a sale's row. Batches hold it for some tens; where somebody holds it for long, the
 * jobs of that sale must not keep every worker waiting, and those of other sales with them.
 */
export const LOCK_WAIT_MS = 2_000;

/** Oldest Redis that has what the scripts and BullMQ need, and is still maintained. */
export const REDIS_MAJOR_MIN = 7;

/** Oldest PostgreSQL that the ledger is tested with. */
export const POSTGRES_MAJOR_MIN = 15;

/** Calls to a part within BREAKER_WINDOW_MS below which its breaker does not open: one lost connection is no outage. */
export const BREAKER_FAILURES_MIN = 5;

/** Milliseconds over which a breaker counts; half of the calls within it must fail. */
export const BREAKER_WINDOW_MS = 5_000;

/** Milliseconds after which an open breaker lets one call through. */
export const BREAKER_RETRY_MS = 500;

/** Milliseconds that a worker waits before it tries again what a part that is away kept it from. */
export const UNAVAILABLE_RETRY_MS = 250;

/** Milliseconds after which a job is taken up again that only waits for its own sale: a row that is held, an inventory that is closed. */
export const SALE_RETRY_MS = 1_000;

/** Milliseconds that a process looks for Redis and PostgreSQL as it starts before it says that they are not there. */
export const STARTUP_WAIT_MS = 10_000;

/** Orders of a sale, about, of which the oldest is looked for: a look must not grow with the backlog. */
export const OLDEST_LOOK_MAX = 100_000;

/** Bytes above which a process sets its log file aside. */
export const LOG_FILE_BYTES = 20 * 1024 * 1024;

/**
 * Log files of one process that are kept beside the one that is written to, the newest: 1 GB. An accepted order takes some 330 bytes of it, so
 * that they hold three million orders of each API process: any sale, and not only the backlog, which is all that Redis can lose.
 */
export const LOG_FILES_MAX = 50;

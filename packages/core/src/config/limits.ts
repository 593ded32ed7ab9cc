/**
 * Bounds that are not settings, each with its unit and reason. Settings, and constants that tests
 * shorten: settings.ts.
 */

// What a request may carry

/**
 * Units per order: far above any cap in use, and the amount stays within the ledger's numeric
 * type.
 */
export const MAX_QUANTITY = 1_000;

/** Units per sale: a thousandth of the ledger's integer leaves room for every sum. */
export const MAX_ALLOTMENT = 2_000_000;

/** Characters of a sale's id: it is part of every key and every order id. */
export const MAX_SALE_ID_LENGTH = 64;

/** Characters of a buyer's id: a UUID, an e-mail address or the subject of a token. */
export const MAX_BUYER_ID_LENGTH = 128;

/** Characters of X-Request-ID: it is stored with every order. */
export const MAX_REQUEST_ID_LENGTH = 64;

/** Characters of an idempotency key: it is kept as long as the sale's keys. */
export const MAX_IDEMPOTENCY_KEY_LENGTH = 128;

/** Bytes of a body. The largest valid one, a new sale with a description, has 4 KiB. */
export const BODY_LIMIT_BYTES = 16 * 1024;

/** Bytes of request line and headers: room for a gateway's token and a browser's cookies. */
export const HEADER_LIMIT_BYTES = 16 * 1024;

/**
 * Bytes that a connection buffers in each direction. Node's 64 KiB would be a gigabyte over all
 * connections.
 */
export const CONNECTION_BUFFER_BYTES = 16 * 1024;

// Limits and caches

/** Seconds until an unused window of the global rate limiter expires (source document). */
export const GLOBAL_RATE_LIMITER_TTL_S = 5;

/**
 * Milliseconds that leased permits are valid, and that a process without permits refuses orders
 * without a call to Redis.
 */
export const RATE_LIMIT_LEASE_MS = 50;

/** Seconds until a buyer's unused bucket expires (source document). */
export const BUYER_BUCKET_TTL_S = 3_600;

/** Milliseconds that a sale's numbers are cached: with the fetch, under the promised second. */
export const SALE_MEMORY_MS = 400;

/** Sales cached in process memory, known and unknown ids together. */
export const SALE_MEMORY_MAX = 10_000;

/**
 * Seconds that the catalogue in Redis is fresh. A read that started before a change may write the
 * old catalogue back, which is then shown for this long.
 */
export const CATALOGUE_TTL_S = 5;

/** Seconds that a stale catalogue is kept for reads while PostgreSQL is unavailable. */
export const CATALOGUE_KEPT_S = 3_600;

// Queue and worker

/** Orders per call of commit.lua: it blocks Redis for half a millisecond. */
export const COMMIT_BATCH_MAX = 250;

/** Orders per job: one transaction of some milliseconds, small enough to retry row by row. */
export const JOB_ORDERS_MAX = 1_000;

/** Attempts of a job before its orders are rejected; the last one starts 15 s after the first. */
export const CONFIRM_ATTEMPTS = 5;

/** Milliseconds before the second attempt, doubled for each further one. */
export const CONFIRM_BACKOFF_MS = 1_000;

/** Completed jobs kept for the queue board: 18 MB of Redis at most. The ledger is the record. */
export const KEEP_COMPLETED_JOBS = 200;

/** Failed jobs kept for the queue board: 45 MB of Redis at most. */
export const KEEP_FAILED_JOBS = 500;

/** Connections to PostgreSQL that a worker needs besides one per job: for its loops and metrics. */
export const WORKER_LOOP_CONNECTIONS = 5;

/**
 * Milliseconds that a transaction waits for a sale's row, at most half of its statement timeout.
 * Batches hold it for tens of milliseconds; a longer lock must not block the jobs of other sales.
 */
export const LOCK_WAIT_MS = 2_000;

// Recovery

/**
 * Reservations per call of claim-orphans.lua: it blocks Redis for 0.8 ms, or 2 ms if all are
 * orphans.
 */
export const REAPER_SCAN_COUNT = 200;

/** Fields, orders or rows per step of a rebuild: a script call of 1 to 2 ms. */
export const REBUILD_CHUNK = 1_000;

/** Orders of the accepted-order log that are looked up together. */
export const LOST_LOOKUP_CHUNK = 1_000;

// Connections, servers, logs

/** Oldest Redis version that the scripts and BullMQ support. */
export const REDIS_MAJOR_MIN = 7;

/** Oldest PostgreSQL that is tested. */
export const POSTGRES_MAJOR_MIN = 15;

/** Milliseconds that a starting process waits for Redis and PostgreSQL. */
export const STARTUP_WAIT_MS = 10_000;

/** Calls within BREAKER_WINDOW_MS below which a breaker stays closed. */
export const BREAKER_CALLS_MIN = 5;

/** Milliseconds over which a breaker counts; half of the calls must fail. */
export const BREAKER_WINDOW_MS = 5_000;

/** Milliseconds until an open breaker lets one call through. */
export const BREAKER_RETRY_MS = 500;

/** Bytes at which a log file is rotated. */
export const LOG_FILE_BYTES = 20 * 1024 * 1024;

/** Rotated log files kept per process: 1 GB, three million accepted orders. */
export const LOG_FILES_MAX = 50;

/**
 * Bounds that several modules share, each with its unit and reason. Others are next to their use;
 * settings, and constants that tests shorten, in settings.ts.
 */

/**
 * Units per order: far above any cap in use, and the amount stays within the ledger's numeric
 * type.
 */
export const MAX_QUANTITY = 1_000;

/** Units per sale: a thousandth of the ledger's integer leaves room for every sum. */
export const MAX_ALLOTMENT = 2_000_000;

/**
 * Sales that have not ended: each process has their settings in memory, and after a loss of Redis a
 * worker rebuilds them all.
 */
export const MAX_CURRENT_SALES = 10_000;

/** Connections to PostgreSQL that a worker needs besides one per job: for its loops and metrics. */
export const WORKER_LOOP_CONNECTIONS = 5;

/** Fields, orders or rows per step of a rebuild: a script call of 1 to 2 ms. */
export const REBUILD_CHUNK = 1_000;

/** Oldest Redis version that the scripts and BullMQ support. */
export const REDIS_MAJOR_MIN = 7;

/** Oldest PostgreSQL that is tested. */
export const POSTGRES_MAJOR_MIN = 15;

/** Milliseconds that a starting process waits for Redis and PostgreSQL. */
export const STARTUP_WAIT_MS = 10_000;

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

/** Orders that one call of the reserve script may carry: bounds the time that Redis is held to about a millisecond. */
export const RESERVE_BATCH_MAX = 128;

/** Orders that one job may carry: one transaction of some milliseconds, small enough to single out by rows. */
export const JOB_ORDERS_MAX = 500;

/** Seconds after which the counters of the system-wide window are gone (source document). */
export const SYSTEM_WINDOW_TTL_S = 5;

/** Seconds after which a buyer's untouched bucket is gone (source document). */
export const BUYER_BUCKET_TTL_S = 3_600;

/**
 * Milliseconds that a worker's hold on a job lasts without being renewed. A job takes tens of milliseconds; after a worker was
 * killed its job is taken up again within JOB_LOCK_MS + 2 × STALLED_CHECK_MS, well inside the promised 30 s.
 */
export const JOB_LOCK_MS = 6_000;

/** Milliseconds between two looks for jobs whose worker is gone; such a job must be seen twice. */
export const STALLED_CHECK_MS = 3_000;

/** Attempts at one job before its orders are given up; with the backoff below the last one starts 15 s after the first. */
export const CONFIRM_ATTEMPTS = 5;

/** Milliseconds before the second attempt; doubled for each further one (1, 2, 4, 8 s). */
export const CONFIRM_BACKOFF_MS = 1_000;

/**
 * Done jobs that stay visible in Bull Board; the ledger, not the queue, is the record. A full job is about 75 KB, so that these
 * take 15 MB of Redis at most.
 */
export const KEEP_COMPLETED_JOBS = 200;

/** Failed jobs that stay visible, for whoever looks into why: 40 MB of Redis at most. */
export const KEEP_FAILED_JOBS = 500;

/** Strands that one turn of the sweep takes into its hands. */
export const SWEEP_BATCH_MAX = 500;

/** Jobs that the sweep reads to learn what the queue is taking care of; with more waiting it leaves strands to the queue. */
export const SWEEP_QUEUE_LOOK_MAX = 2_000;

/** Hand-overs by the sweep after which an order is given up: something about it ends every worker that takes it. */
export const HAND_OVERS_MAX = 8;

/** Milliseconds that a sale's numbers may stay in process memory: half of the promised second, so that age + fetch stay under it. */
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

/** Sales that the operator's list shows. */
export const ADMIN_LIST_MAX = 200;

/** Milliseconds that an answer of the parts counts as their health, so that probes cannot load them. */
export const HEALTH_MEMORY_MS = 500;

/** Milliseconds that each part has to answer a health check. */
export const HEALTH_TIMEOUT_MS = 1_000;

/** Seconds that a worker's sign of life is believed; it is given every third of that. */
export const WORKER_ALIVE_S = 15;

/** Milliseconds between two lines that sum up the refusals; refusals themselves are not logged. */
export const REFUSAL_SUMMARY_MS = 10_000;

/** Milliseconds after which a stock change that no process finished is finished by the repair loop. */
export const STOCK_CHANGE_REPAIR_MS = 5_000;

/**
 * Milliseconds that a worker's connection to Redis may be silent while an answer is awaited, before it is made anew. Longer than
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

/** Milliseconds that a process looks for Redis and PostgreSQL as it starts before it says that they are not there. */
export const STARTUP_WAIT_MS = 10_000;

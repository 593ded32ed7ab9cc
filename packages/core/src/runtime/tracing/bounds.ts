/** How much tracing may hold and wait for. */

/** Spans that a process keeps until they are sent; what comes above it is lost. Some 600 bytes each as they are sent. */
export const TRACING_QUEUE_MAX = 4_096;
/** Spans that go to the collector in one request. */
export const TRACING_BATCH_MAX = 512;
/** Milliseconds that spans wait for others to go with them. */
export const TRACING_PACE_MS = 1_000;
/** Milliseconds that the collector has to take a batch, all tries together; then it is lost. */
export const TRACING_EXPORT_MS = 4_000;
/** Milliseconds that a process which stops waits for the collector at most; SHUTDOWN_TIMEOUT_MS bounds it as well. */
export const TRACING_FLUSH_MS = 2_000;
/** Milliseconds between two lines about traces that were lost. */
export const TRACING_WARN_MS = 60_000;

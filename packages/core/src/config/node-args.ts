/** Node arguments of API and worker. The Dockerfile repeats them; a test compares them. */

/**
 * Megabytes of V8's semi-space. V8 would take 32 on a large machine: 100 MB more memory and pauses
 * twice as long.
 */
const SEMI_SPACE_MB = 16;

/**
 * Per cent that the old generation may grow between two full collections. V8's 60 means a pause of
 * tens of milliseconds every few seconds of a sale.
 */
const HEAP_GROWING_PERCENT = 100;

export const SERVICE_NODE_ARGS: readonly string[] = [
  `--max-semi-space-size=${SEMI_SPACE_MB}`,
  `--heap-growing-percent=${HEAP_GROWING_PERCENT}`,
];

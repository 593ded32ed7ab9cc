/** How Node is told to run a service process. */

/**
 * Megabytes of each half of V8's young generation in a service process. V8 would let it grow to 32 on a large machine: 100 MB more of memory
 * and pauses twice as long, for nothing.
 */
const SEMI_SPACE_MB = 16;

/**
 * Per cent by which V8's old generation may grow before all of it is looked through. V8 takes some 60 for a heap of this size, and then a pause
 * of tens of milliseconds comes every few seconds of a sale.
 */
const HEAP_GROWING_PERCENT = 100;

/** Arguments of Node for service processes; the Dockerfile has the same. */
export const SERVICE_NODE_ARGS: readonly string[] = [
  `--max-semi-space-size=${SEMI_SPACE_MB}`,
  `--heap-growing-percent=${HEAP_GROWING_PERCENT}`,
];

/**
 * Load shedding: refuses requests that this process cannot answer soon, so that admitted ones stay
 * fast.
 *   In flight:   above the limit of concurrent requests, the next one gets 503 at once.
 *   Event loop:  while it lags, the limit is lower.
 * Health and operators' routes are never shed.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { FastifyReply, FastifyRequest } from 'fastify';
import fp from 'fastify-plugin';

/** Milliseconds over which the event loop's delay is averaged. */
const LOOP_SAMPLE_MS = 100;
/** Milliseconds between two ticks of the timer whose lateness is the delay. */
const LOOP_TICK_MS = 10;
/** Share of the limit that is admitted while the event loop lags, so that it can catch up. */
const LATE_IN_FLIGHT_SHARE = 1 / 4;
/** Most requests that are admitted while the event loop lags. */
const LATE_IN_FLIGHT_MAX = 1_000;
/** Retry-After is random between the two, so that clients do not return at the same moment. */
const RETRY_MIN_MS = 500;
const RETRY_MAX_MS = 3_000;

/** Of operators and health. */
const NEVER_SHED = /^\/(?:api\/admin|admin|health)/;

declare module 'fastify' {
  interface FastifyRequest {
    /**
     * `arriving`: its body is incomplete. It counts when complete, so that slow senders do not
     * count.
     */
    standing: 'not counted' | 'arriving' | 'in flight';
  }
}

/**
 * @param options.inFlight requests at a time; 0 = no limit.
 *
 * @param options.loopDelayMs 0 = not checked
 */
export default fp<{ inFlight: number; loopDelayMs: number }>(
  async (app, { inFlight, loopDelayMs }) => {
    if (inFlight === 0 && loopDelayMs === 0) return;
    const most = inFlight === 0 ? Number.POSITIVE_INFINITY : inFlight;
    const mostWhenLate = Math.min(Math.ceil(most * LATE_IN_FLIGHT_SHARE), LATE_IN_FLIGHT_MAX);
    /** Requests in flight, and those answered in this turn of the event loop. */
    let taken = 0;
    let answered = 0;
    let refused: FastifyReply[] = [];
    let turnEndScheduled = false;

    let isLate = false;
    if (loopDelayMs > 0) {
      const delay = monitorEventLoopDelay({ resolution: LOOP_TICK_MS });
      delay.enable();
      const sampling = setInterval(() => {
        // NaN without one tick.
        isLate = !(delay.mean / 1e6 - LOOP_TICK_MS <= loopDelayMs);
        delay.reset();
      }, LOOP_SAMPLE_MS).unref();
      app.addHook('onClose', async () => {
        clearInterval(sampling);
        delay.disable();
      });
    }
    const isFull = (): boolean => taken >= mostWhenLate && (taken >= most || isLate);

    /**
     * Frees slots and sends refusals at the end of the turn. Otherwise clients that retry at once
     * are served within the same turn, which then does not end, and replies from Redis are not
     * processed.
     */
    function endTurn(): void {
      taken -= answered;
      const replies = refused;
      refused = [];
      answered = 0;
      turnEndScheduled = false;
      for (const reply of replies) {
        const spreadMs = Math.floor(Math.random() * (RETRY_MAX_MS - RETRY_MIN_MS));
        reply.problem('OVERLOADED', { retry_after_ms: RETRY_MIN_MS + spreadMs });
      }
    }
    function scheduleTurnEnd(): void {
      if (turnEndScheduled) return;
      turnEndScheduled = true;
      setImmediate(endTurn);
    }
    function shed(reply: FastifyReply): void {
      refused.push(reply);
      scheduleTurnEnd();
    }
    function begin(request: FastifyRequest): void {
      request.standing = 'in flight';
      taken += 1;
    }

    app.decorateRequest('standing', 'not counted');
    app.addHook('onRequest', (request, reply, next) => {
      if (NEVER_SHED.test(request.raw.url as string)) return next();
      if (isFull()) return shed(reply);
      if (hasBody(request)) request.standing = 'arriving';
      else begin(request);
      next();
    });
    app.addHook('preValidation', (request, reply, next) => {
      if (request.standing !== 'arriving') return next();
      if (isFull()) return shed(reply);
      begin(request);
      next();
    });
    // On send, not on close: the work for a client that disconnected continues, and counts.
    app.addHook('onSend', (request, _reply, _payload, next) => {
      if (request.standing === 'in flight') {
        request.standing = 'not counted';
        answered += 1;
        scheduleTurnEnd();
      }
      next();
    });
  },
  { name: 'overload', dependencies: ['problems'] },
);

function hasBody({ headers }: FastifyRequest): boolean {
  const length = headers['content-length'];
  return (length !== undefined && length !== '0') || headers['transfer-encoding'] !== undefined;
}

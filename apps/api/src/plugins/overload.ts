/**
 * Sheds what this process cannot answer soon, before anything else, so that what was let in stays fast.
 *   In flight:   requests under way. Above the bound the next one gets 503 at once.
 *   Event loop:  while it is late, only a part of that bound is let in.
 * Health, operators' routes and pages are never shed.
 */
import underPressure from '@fastify/under-pressure';
import type { FastifyReply, FastifyRequest } from 'fastify';
import fp from 'fastify-plugin';

/** Milliseconds between two samples of the event-loop delay. */
const LOOP_SAMPLE_MS = 100;
/** Part of the bound that is let in while the event loop is late: some are served, and the loop catches up. */
const LATE_IN_FLIGHT_PART = 1 / 4;
/** The same as a number of requests, where the bound is off or very high. */
const LATE_IN_FLIGHT_MAX = 1_000;
/** Retry-After is spread between the two, so that the crowd does not return at one moment. */
const RETRY_MIN_MS = 500;
const RETRY_MAX_MS = 3_000;

const NEVER_SHED = ['/api/admin', '/admin', '/health', '/docs'];

declare module 'fastify' {
  interface FastifyRequest {
    /** `arriving`: let in, but its body is on the way. It counts when complete, so that slow senders take no place. */
    standing: 'not counted' | 'arriving' | 'in flight';
  }
}

/** @param options.inFlight requests at a time; 0 = no bound. @param options.loopDelayMs 0 = not watched */
export default fp<{ inFlight: number; loopDelayMs: number }>(
  async (app, { inFlight, loopDelayMs }) => {
    if (inFlight === 0 && loopDelayMs === 0) return;
    // Only its measurement is used: its own hook is slow and sheds all or nothing.
    if (loopDelayMs > 0) await app.register(underPressure, { sampleInterval: LOOP_SAMPLE_MS });
    const most = inFlight === 0 ? Number.POSITIVE_INFINITY : inFlight;
    const mostWhenLate = Math.min(Math.ceil(most * LATE_IN_FLIGHT_PART), LATE_IN_FLIGHT_MAX);
    /** Requests under way, and those answered in this turn of the event loop. */
    let taken = 0;
    let answered = 0;
    let refused: FastifyReply[] = [];
    let turnEndScheduled = false;

    const isLate = (): boolean => loopDelayMs > 0 && app.memoryUsage().eventLoopDelay > loopDelayMs;
    const isFull = (): boolean => taken >= mostWhenLate && (taken >= most || isLate());

    /**
     * Places are freed and refusals sent when the turn ends. Otherwise a crowd that retries at once is
     * served within the same turn, which then never ends, and replies from Redis wait for the crowd.
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
      const url = request.raw.url as string;
      if (NEVER_SHED.some((path) => url.startsWith(path))) return next();
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
    // When the answer is sent, not when the connection ends: work for a client that left goes on, and counts.
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

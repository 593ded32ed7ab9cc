/**
 * Sheds what this process cannot answer soon, as the first thing that a request meets: what was let in stays fast.
 *   In flight:   requests that are being answered here. Above the bound the next one is refused at once.
 *   Event loop:  while it runs late only a part of that bound is let in.
 * Health, operator, board and reference are never shed. Stands before the address limit, because it is the cheaper one; what the
 * address limit refuses has left again before the next request arrives.
 */

import underPressure from '@fastify/under-pressure';
import {
  LATE_IN_FLIGHT_MAX,
  LATE_IN_FLIGHT_PART,
  LOOP_SAMPLE_MS,
  SHED_RETRY_MAX_MS,
  SHED_RETRY_MIN_MS,
} from '@flash-sale/core/config/limits.ts';
import type { FastifyReply, FastifyRequest } from 'fastify';
import fp from 'fastify-plugin';

declare module 'fastify' {
  interface FastifyRequest {
    /** `arriving`: let in, and its body is on the way. It is counted once it is complete, so that slow senders take nobody's place. */
    standing: 'aside' | 'arriving' | 'in flight';
  }
}

/** Whoever looks after the system must get through to it. What does not exist below these is a 404, as cheap as being shed. */
const neverShed = ['/api/admin', '/admin', '/health', '/docs'];

export default fp<{ inFlight: number; loopDelayMs: number }>(
  async (app, { inFlight, loopDelayMs }) => {
    if (inFlight === 0 && loopDelayMs === 0) return;
    // Only its measuring is used. Its own hook builds a description of the route for every request, and sheds all or nothing.
    if (loopDelayMs > 0) await app.register(underPressure, { sampleInterval: LOOP_SAMPLE_MS });
    const most = inFlight === 0 ? Number.POSITIVE_INFINITY : inFlight;
    const mostWhenLate = Math.min(Math.ceil(most * LATE_IN_FLIGHT_PART), LATE_IN_FLIGHT_MAX);
    /** Requests that have a place: begun, and not answered before this turn. */
    let taken = 0;
    let answered = 0;
    let refused: FastifyReply[] = [];
    let turnEnds = false;

    const isLate = (): boolean => loopDelayMs > 0 && app.memoryUsage().eventLoopDelay > loopDelayMs;
    const isFull = (): boolean => taken >= mostWhenLate && (taken >= most || isLate());

    /**
     * Places become free, and refusals are told, at the end of the turn of the event loop. Otherwise a crowd that asks again at once
     * would be served on the spot, again and again, and the turn would not end: what waits for Redis would wait for the crowd.
     */
    function endTurn(): void {
      taken -= answered;
      const replies = refused;
      refused = [];
      answered = 0;
      turnEnds = false;
      for (const reply of replies) {
        // Spread, so that the crowd does not come back at one moment.
        const spreadMs = Math.floor(Math.random() * (SHED_RETRY_MAX_MS - SHED_RETRY_MIN_MS));
        reply.problem('OVERLOADED', { retry_after_ms: SHED_RETRY_MIN_MS + spreadMs });
      }
    }
    function atTurnsEnd(): void {
      if (turnEnds) return;
      turnEnds = true;
      setImmediate(endTurn);
    }
    function shed(reply: FastifyReply): void {
      refused.push(reply);
      atTurnsEnd();
    }
    function begin(request: FastifyRequest): void {
      request.standing = 'in flight';
      taken += 1;
    }

    app.decorateRequest('standing', 'aside');
    app.addHook('onRequest', (request, reply, next) => {
      const url = request.raw.url as string;
      if (neverShed.some((path) => url.startsWith(path))) return next();
      if (isFull()) return shed(reply);
      if (bringsBody(request)) request.standing = 'arriving';
      else begin(request);
      next();
    });
    app.addHook('preValidation', (request, reply, next) => {
      if (request.standing !== 'arriving') return next();
      if (isFull()) return shed(reply);
      begin(request);
      next();
    });
    // As the answer is sent, not as the connection ends: work whose client is gone goes on, and counts.
    app.addHook('onSend', (request, _reply, _payload, next) => {
      if (request.standing === 'in flight') {
        request.standing = 'aside';
        answered += 1;
        atTurnsEnd();
      }
      next();
    });
  },
  { name: 'overload', dependencies: ['problems'] },
);

function bringsBody({ headers }: FastifyRequest): boolean {
  const length = headers['content-length'];
  return (length !== undefined && length !== '0') || headers['transfer-encoding'] !== undefined;
}

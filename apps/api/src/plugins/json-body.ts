/**
 * JSON bodies. An empty body counts as no body, whatever type or coding it has: the source
 * document's wrk script sends a content type without a body, and proxies add a coding. All pieces
 * of a body go into one buffer: kept apart, as Fastify's parser does, 16 KiB that are sent byte by
 * byte take megabytes.
 */
import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import { errorCodes, type FastifyInstance, type FastifyRequest } from 'fastify';
import fp from 'fastify-plugin';
import { bodyFailure } from './connection-state.ts';
import { ProblemError } from './problems.ts';

/** Bytes of a body, unless its route has another `bodyLimit`. */
export const BODY_LIMIT_BYTES = 16 * 1024;

type Done = (error: Error | null, body?: unknown) => void;

export default fp(
  async (app: FastifyInstance) => {
    function receive(isJson: boolean) {
      return (request: FastifyRequest, payload: IncomingMessage, done: Done): void => {
        const limit = request.routeOptions.bodyLimit;
        let body: Buffer = Buffer.alloc(0);
        let size = 0;
        const detach = () => payload.off('data', add).off('end', end).off('error', fail);
        const finish = (error: Error | null, value?: unknown): void => {
          detach();
          done(error, value);
        };
        const fail = (error: Error): void =>
          finish(
            error instanceof ProblemError ? error : new ProblemError('INVALID_REQUEST', { detail: error.message }),
          );
        const end = (): void => {
          if (size === 0) return void finish(null);
          let value: unknown;
          try {
            value = parse(body.subarray(0, size));
          } catch (error) {
            return void fail(error as Error);
          }
          finish(null, value);
        };
        const add = (piece: Buffer): void => {
          if (size + piece.length > limit) return void finish(new errorCodes.FST_ERR_CTP_BODY_TOO_LARGE());
          // Most bodies are one piece, which is not copied.
          if (size === 0) {
            if (!isJson || !isPlainUtf8(request)) return void finish(new errorCodes.FST_ERR_CTP_INVALID_MEDIA_TYPE());
            body = piece;
          } else {
            if (body.length < limit) body = Buffer.concat([body], limit);
            piece.copy(body, size);
          }
          size += piece.length;
        };
        const failure = bodyFailure(payload);
        if (failure || request.is404) done(failure ?? null);
        else if (Number(request.headers['content-length']) > limit) done(new errorCodes.FST_ERR_CTP_BODY_TOO_LARGE());
        else payload.on('data', add).on('end', end).on('error', fail);
      };
    }

    app.removeAllContentTypeParsers();
    app.addContentTypeParser('application/json', receive(true));
    app.addContentTypeParser('*', receive(false));
  },
  { name: 'json-body', dependencies: ['problems'] },
);

/**
 * Names such as __proto__ are members here; schemas refuse them like any other unknown one.
 *
 * @throws with a sentence for the client
 */
function parse(bytes: Buffer): unknown {
  if (!isUtf8(bytes)) throw new Error('The body is not UTF-8.');
  const text = bytes.toString();
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new errorCodes.FST_ERR_CTP_INVALID_JSON_BODY();
  }
  if (hasDuplicates(text, value)) throw new Error('The body has a name twice in an object.');
  return value;
}

/** Read as JSON in UTF-8, other bytes could be a valid order too. */
function isPlainUtf8({ headers }: FastifyRequest): boolean {
  const { 'content-type': type = '', 'content-encoding': coding = 'identity' } = headers;
  // What most clients send.
  if (type === 'application/json' && coding === 'identity') return true;
  const charset = /;\s*charset\s*=\s*"?([^\s;"]*)/i.exec(type)?.[1] ?? 'utf-8';
  return coding.toLowerCase() === 'identity' && /^(utf-?8|us-ascii)$/i.test(charset);
}

/** A string of JSON text, and the colon behind it if it is a name. */
const STRING = /"(?:[^"\\]|\\.)*"(\s*:)?/g;

/** JSON.parse takes the last of several members of a name, and other readers the first. */
function hasDuplicates(text: string, value: unknown): boolean {
  // Most bodies have one member.
  if (text.indexOf(':') === text.lastIndexOf(':')) return false;
  let namesLeft = 0;
  for (const [, colon] of text.matchAll(STRING)) if (colon) namesLeft += 1;
  const values = [value];
  for (const one of values) {
    if (typeof one !== 'object' || one === null) continue;
    const members = Object.values(one);
    if (!Array.isArray(one)) namesLeft -= members.length;
    values.push(...members);
  }
  return namesLeft > 0;
}

/**
 * What Node's parser lets pass although another server may read it differently: a request that two
 * servers understand differently can smuggle another one past a proxy.
 */
import type { IncomingMessage } from 'node:http';
import type { ProblemCode } from './problems.ts';

export interface Fault {
  readonly code: ProblemCode;
  readonly detail?: string;
}

/**
 * Headers with one value (RFC 9110), and ours. Node joins repeated ones, or takes the first; it
 * refuses a second Content-Length.
 */
const SINGLE_VALUED = [
  'authorization',
  'content-encoding',
  'content-type',
  'host',
  'idempotency-key',
  'if-modified-since',
  'origin',
  'x-request-id',
  'x-user-id',
];

const invalid = (detail: string): Fault => ({ code: 'INVALID_REQUEST', detail });

/** Also drops a content type without a body, which says nothing. */
export function checkFraming(request: IncomingMessage): Fault | null {
  const { headers, rawHeaders, httpVersion } = request;
  const { 'transfer-encoding': coding, 'content-length': length = '0', expect } = headers;
  if (httpVersion === '1.1') {
    if (headers.host === undefined) return invalid('Host is missing.');
    if (expect !== undefined && expect.toLowerCase() !== '100-continue') return { code: 'EXPECTATION_FAILED' };
  } else if (httpVersion !== '1.0') return invalid('Send HTTP/1.1 or HTTP/1.0.');
  else if (coding !== undefined) return invalid('HTTP/1.0 has no Transfer-Encoding.');
  if (coding !== undefined && coding.toLowerCase() !== 'chunked') return invalid('Transfer-Encoding must be chunked.');
  if (rawHeaders.length !== 2 * Object.keys(headers).length) {
    const repeated = SINGLE_VALUED.find((name) => (request.headersDistinct[name]?.length ?? 0) > 1);
    if (repeated !== undefined) return invalid(`${repeated} occurs twice.`);
  }
  if (headers['content-type'] !== undefined && length === '0' && coding === undefined)
    headers['content-type'] = undefined;
  return null;
}

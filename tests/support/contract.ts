/** Compares an answer with docs/openapi.json: every API test checks the contract by the way. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AnyJson } from './any-json.ts';

export const contract: AnyJson = JSON.parse(readFileSync(join(import.meta.dirname, '../../docs/openapi.json'), 'utf8'));

const routes = Object.entries<AnyJson>(contract.paths).map(([path, methods]) => ({
  pattern: new RegExp(`^${path.replaceAll(/\{\w+\}/g, '[^/]+')}$`),
  methods,
}));

/** @returns the codes that a response of the contract may have */
export const codesOf = (response: AnyJson): string[] =>
  resolve(response)?.content?.['application/problem+json']?.schema.allOf[1].properties.code.enum ?? [];

/** @returns the response itself, or that of the components that it refers to */
export const resolve = (response: AnyJson): AnyJson =>
  response?.$ref === undefined ? response : contract.components.responses[response.$ref.split('/').at(-1)];

interface Seen {
  readonly status: number;
  readonly headers: Headers;
  readonly body: AnyJson;
}

/** @returns in what an answer differs from the contract */
export function contractFaults(method: string, url: string, { status, headers, body }: Seen): string[] {
  const faults: string[] = [];
  const type = headers.get('content-type') ?? '';
  const isProblem = type.startsWith('application/problem+json');
  const { methods } = routes.find(({ pattern }) => pattern.test(new URL(url).pathname)) ?? {};
  const responses = methods?.[method === 'HEAD' ? 'get' : method.toLowerCase()]?.responses;
  if (responses && !responses[status]) faults.push(`status ${status}`);
  if (isProblem && responses && !codesOf(responses[status]).includes(body.code)) faults.push(`code ${body.code}`);
  // Outside of the API only the ports of metrics answer, without a body.
  const isOurs = responses !== undefined || type !== '';
  if (status >= 400 && isOurs && !isProblem && !responses?.[status]?.content?.['application/json'])
    faults.push(`type ${type}`);
  if (isProblem && method !== 'HEAD' && body.retryable !== headers.has('retry-after'))
    faults.push(`retryable ${body.retryable} with Retry-After ${headers.get('retry-after')}`);
  return faults.map((fault) => `not in the contract of ${method} ${new URL(url).pathname}: ${fault}`);
}

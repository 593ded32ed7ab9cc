/** docs/openapi.json against the code's tables, and the proxy's problems against both. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { refusalCodes } from '@flash-sale/api/orders/refusals.ts';
import { type ProblemCode, problemBody, problemCodes } from '@flash-sale/api/plugins/problems.ts';
import { expect, test } from 'vitest';
import type { AnyJson } from '../support/any-json.ts';
import { codesOf, contract, resolve } from '../support/contract.ts';
import { root } from './source-files.ts';

const operations = Object.entries<AnyJson>(contract.paths).flatMap(([path, methods]) =>
  Object.entries<AnyJson>(methods).map(([method, operation]) => ({ name: `${method} ${path}`, ...operation })),
);
const statusOf = (code: ProblemCode): number => problemBody(code, '', {}).status;

test('the contract has every code of the table, each under its status, and no other', () => {
  // Where nothing is described: the queue board, and methods that a path does not have.
  const elsewhere = ['BOARD_IS_READ_ONLY', 'METHOD_NOT_ALLOWED'];
  const found = new Set<ProblemCode>();
  for (const { name, responses } of operations)
    for (const [status, response] of Object.entries<AnyJson>(responses))
      for (const code of codesOf(response) as ProblemCode[]) {
        found.add(code);
        expect(statusOf(code), `${code} of ${name}`).toBe(Number(status));
      }
  expect([...found, ...elsewhere].sort()).toEqual([...problemCodes].sort());
  expect(contract.components.schemas.Problem.properties.code.enum).toEqual(problemCodes);
});

test('an order may be refused with every code of the refusals', () => {
  const { responses } = contract.paths['/api/flash-sales/{product_id}/order'].post;
  for (const code of refusalCodes) expect(codesOf(responses[statusOf(code)])).toContain(code);
});

test('every response says what it is, and every route what any request may get', () => {
  for (const { name, responses, requestBody } of operations) {
    for (const response of Object.values<AnyJson>(responses))
      expect(resolve(response).description, name).toMatch(/^\S.*\.$/s);
    for (const status of [400, 408, 414, 417, 429, 431, 500, 502, 504])
      expect(codesOf(responses[status]).length, `${name} ${status}`).toBeGreaterThan(0);
    for (const status of name.startsWith('post ') ? [413, 415] : [])
      expect(codesOf(responses[status]).length, `${name} ${status}`).toBe(1);
    if (requestBody) expect(requestBody.required, name).toBe(!name.endsWith('/order'));
  }
});

test('the proxy answers with problems of the table, and with Retry-After if they are retryable', () => {
  const config = readFileSync(join(root, 'deploy/docker/haproxy.cfg'), 'utf8');
  const errors = [
    ...config.matchAll(/http-error status (\d+) content-type (\S+) string '(.*)'( hdr Retry-After 1)?$/gm),
  ];
  expect(errors).toHaveLength(4);
  for (const [, status, type, text, retryAfter] of errors) {
    const problem = JSON.parse(text as string);
    const { request_id, ...expected } = problemBody(problem.code, '', {});
    expect([Number(status), type, problem]).toEqual([problem.status, 'application/problem+json', expected]);
    expect(retryAfter !== undefined).toBe(problem.retryable);
  }
});

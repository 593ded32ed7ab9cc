/** Calls the operators' API of a running system. */

const ANSWER_WITHIN_MS = 15_000;

export interface Operator {
  /** http://127.0.0.1:5001; differs from the buyers' address if ADMIN_PORT is set */
  readonly adminUrl: string;
  readonly adminToken: string;
}

/**
 * @param path after /api/admin/sales
 * @param body with one it is a POST, else a GET
 * @throws Error with a sentence if the API does not answer, or with a status that is not `expected`
 */
export async function callOperatorApi(
  { adminUrl, adminToken }: Operator,
  path: string,
  expected: readonly number[],
  body?: object,
): Promise<{ status: number; body: Record<string, unknown> }> {
  const url = `${adminUrl}/api/admin/sales${path}`;
  const method = body ? 'POST' : 'GET';
  const response = await fetch(url, {
    method,
    headers: { authorization: `Bearer ${adminToken}`, ...(body && { 'content-type': 'application/json' }) },
    ...(body && { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
  }).catch((error: Error & { cause?: { code?: string } }) => {
    const reason = error.cause?.code ?? error.message;
    throw new Error(`The API does not answer at ${adminUrl} (${reason}). Is "npm start" running?`);
  });
  const { status } = response;
  const reply = ((await response.json().catch(() => null)) ?? {}) as Record<string, unknown>;
  if (expected.includes(status)) return { status, body: reply };
  if (status === 401 || status === 403)
    throw new Error(`The system at ${adminUrl} does not accept the ADMIN_TOKEN of this command (${status}).`);
  const { code = '', detail = reply.title ?? '' } = reply;
  throw new Error(`${method} ${url} was answered with ${status} ${code} ${detail}`);
}

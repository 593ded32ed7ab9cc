/** One request over node:http, whose client may hang up or half-close, and how it ended. */
import { once } from 'node:events';
import { type Agent, type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http';

export interface Exchange {
  readonly how: 'replied' | 'broken' | 'refused_connection' | 'timed_out';
  /** 0 without a reply. */
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** Parsed, if it is a JSON object. */
  readonly body: Record<string, unknown>;
}

/**
 * @param asked.timeoutMs after which the client hangs up
 * @param asked.halfCloses the client sends FIN after its request, and waits for the reply
 */
export async function exchange(
  url: string,
  asked: {
    agent: Agent;
    method: string;
    headers: Record<string, string>;
    body: string | null;
    timeoutMs: number;
    halfCloses?: boolean;
  },
): Promise<Exchange> {
  const { method, body, timeoutMs, halfCloses = false } = asked;
  // A half-closed connection is not used again.
  const agent = halfCloses ? false : asked.agent;
  const length = body === null ? {} : { 'content-length': String(Buffer.byteLength(body)) };
  const type = body === null ? {} : { 'content-type': 'application/json' };
  const sent = request(url, { agent, method, headers: { ...type, ...length, ...asked.headers } });
  sent.on('error', () => {});
  if (halfCloses) sent.once('finish', () => sent.socket?.end());
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    sent.destroy(new Error('the client hangs up'));
  }, timeoutMs);
  try {
    sent.end(body ?? undefined);
    const [reply] = (await once(sent, 'response')) as [IncomingMessage];
    let text = '';
    reply.setEncoding('utf8').on('data', (chunk) => (text += chunk));
    await once(reply, 'end');
    return { how: 'replied', status: reply.statusCode ?? 0, headers: reply.headers, body: parsed(text) };
  } catch (error) {
    const isRefused = (error as NodeJS.ErrnoException).code === 'ECONNREFUSED';
    const how = late ? 'timed_out' : isRefused ? 'refused_connection' : 'broken';
    return { how, status: 0, headers: {}, body: {} };
  } finally {
    clearTimeout(timer);
  }
}

function parsed(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

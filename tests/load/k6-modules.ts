/** As much of k6's modules as k6/scenarios.ts uses. */
import { execFileSync } from 'node:child_process';

export const scenario = { iterationInTest: 0 };

export const counts: Record<string, number> = {};

export class Counter {
  readonly #name: string;

  constructor(name: string) {
    this.#name = name;
  }

  add(value: number): void {
    counts[this.#name] = (counts[this.#name] ?? 0) + value;
  }
}

interface Reply {
  readonly status: number;
  readonly body: string;
  readonly headers: Record<string, string>;
}

/** k6's requests are synchronous; so this one is made by another process. */
export function post(url: string, body: string | null, { headers = {} }: { headers?: object } = {}): Reply {
  const ask = `
    const reply = await fetch(${JSON.stringify(url)}, ${JSON.stringify({ method: 'POST', body, headers })});
    const headers = { 'Retry-After': reply.headers.get('retry-after') };
    console.log(JSON.stringify({ status: reply.status, body: await reply.text(), headers }));`;
  return JSON.parse(execFileSync(process.execPath, ['--input-type=module', '-e', ask], { encoding: 'utf8' })) as Reply;
}

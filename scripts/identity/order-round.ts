/** One turn of one algorithm: orders by X-User-ID, by fresh tokens, by the same tokens again, by X-User-ID again. */
import { Agent, request } from 'node:http';
import type { BenchSystem } from '../bench/bench-system.ts';
import { cpuMs } from '../bench/cpu-time.ts';

export type Algorithm = 'HS256' | 'RS256' | 'ES256' | 'EdDSA';

export interface Way {
  readonly algorithm: Algorithm;
  /** Of the API process with AUTH=jwt. */
  readonly url: string;
  readonly pid: number;
  makeToken(buyerId: string): Promise<string>;
}

interface Rate {
  /** Accepted orders a second. */
  readonly rate: number;
  /** CPU time of the API process for an order, µs. */
  readonly cpuUs: number;
}

export interface Round {
  readonly before: Rate;
  readonly fresh: Rate;
  readonly seen: Rate;
  readonly after: Rate;
}

/** Orders that are under way at a time: enough that the API process is what is waited for. */
const CONNECTIONS = 64;

let runs = 0;

/** @throws where an order is not accepted */
export async function orderRound(system: BenchSystem, way: Way, orders: number): Promise<Round> {
  const saleId = await system.makeSale({ perBuyerLimit: 0 });
  runs += 1;
  const names = Array.from({ length: orders }, (_, i) => `r${runs}-${i}`);
  const headers = names.map((name) => ({ 'x-user-id': name }));
  // Made beforehand: signing takes the crowd's time, and longer than verifying.
  const tokens: { authorization: string }[] = [];
  for (const name of names) tokens.push({ authorization: `Bearer ${await way.makeToken(name)}` });
  const byHeader = { url: system.url, pid: system.pid('api-1') };
  const ask = async (at: { url: string; pid: number }, list: readonly Record<string, string>[]): Promise<Rate> => {
    const rate = await placeAll(at, saleId, list);
    await system.settled(saleId);
    return rate;
  };
  return {
    before: await ask(byHeader, headers),
    fresh: await ask(way, tokens),
    seen: await ask(way, tokens),
    after: await ask(byHeader, headers),
  };
}

async function placeAll(
  { url, pid }: { url: string; pid: number },
  saleId: string,
  list: readonly Record<string, string>[],
): Promise<Rate> {
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  const path = `${url}/api/flash-sales/${saleId}/order`;
  const cpuBefore = cpuMs(pid);
  const startedAt = performance.now();
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let i = next++; i < list.length; i = next++) await placeOne(agent, path, list[i] as Record<string, string>);
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, lane));
  const seconds = (performance.now() - startedAt) / 1_000;
  const cpu = cpuMs(pid) - cpuBefore;
  agent.destroy();
  return { rate: list.length / seconds, cpuUs: (cpu * 1_000) / list.length };
}

function placeOne(agent: Agent, url: string, headers: Record<string, string>): Promise<void> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { method: 'POST', agent, headers }, (response) => {
      response.resume();
      if (response.statusCode !== 200) reject(new Error(`an order was told ${response.statusCode}`));
      else response.once('end', resolve);
    });
    sent.once('error', reject);
    sent.end();
  });
}

/** What a test file opens before its tests and closes after them, and a client of the API. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startPrivateRedis } from '@flash-sale/launcher/private-redis.ts';
import type { PrivateServer } from '@flash-sale/launcher/private-server.ts';
import { afterAll, afterEach, beforeAll, beforeEach, inject } from 'vitest';
import type { AnyJson } from './any-json.ts';
import { contractFaults } from './contract.ts';
import { ADMIN_TOKEN, type RunningApi, startApi, startWorkerHere } from './running-system.ts';
import { openWorld, type World } from './world.ts';

type Settings = Parameters<typeof startApi>[1];

/** Each test has its own. */
export function useWorldPerTest(): World {
  const world = {} as World;
  beforeEach(async () => {
    Object.assign(world, await openWorld(inject('template')));
  });
  afterEach(() => world.close());
  return world;
}

/** Fields are there from the first hook or test on: do not destructure at the top of a file. */
export function useWorld(): World {
  const world = {} as World;
  beforeAll(async () => {
    Object.assign(world, await openWorld(inject('template')));
  });
  afterAll(() => world.close());
  return world;
}

export function useApi(world: World, settings?: () => Settings): TestApi {
  const api = {} as TestApi;
  beforeAll(async () => {
    Object.assign(api, await openApi(world, settings?.()));
  });
  afterAll(() => api.close());
  return api;
}

/** @returns stops it before the end of the file */
export function useWorker(world: World, settings?: () => Settings): () => Promise<void> {
  let worker: { stop(): Promise<void> } | undefined;
  beforeAll(async () => {
    worker = await startWorkerHere(world, settings?.());
  });
  const stop = async () => {
    const running = worker;
    worker = undefined;
    await running?.stop();
  };
  afterAll(stop);
  return stop;
}

export function useFolder(): { readonly path: string } {
  const folder = { path: mkdtempSync(join(tmpdir(), 'flash-sale-test-')) };
  afterAll(() => rmSync(folder.path, { recursive: true, force: true }));
  return folder;
}

/** A Redis in `folder` that a test may stop, kill and empty. */
export function startOwnRedis(folder: string, config: readonly string[] = []): Promise<PrivateServer> {
  const distFolder = process.env.TEST_REDIS_DIST;
  return startPrivateRedis({ folder, restart: false, config, ...(distFolder ? { distFolder } : {}) });
}

/** A world whose Redis is the file's own. */
export function useOwnRedis(...config: string[]): World & { server: PrivateServer } {
  const world = {} as World & { server: PrivateServer };
  const folder = useFolder();
  beforeAll(async () => {
    const server = await startOwnRedis(folder.path, config);
    Object.assign(world, await openWorld(inject('template'), { redisUrl: server.url }), { server });
  });
  afterAll(async () => {
    await world.close();
    await world.server.stop();
  });
  return world;
}

export const BEARER = { authorization: `Bearer ${ADMIN_TOKEN}` };
/** An operator's login in a browser. */
export const LOGIN = { authorization: `Basic ${btoa(`admin:${ADMIN_TOKEN}`)}` };

type Headers = Record<string, string>;

export interface Answer {
  readonly status: number;
  /** Status with the problem's code or the order's status: "400 SOLD_OUT", "200 accepted". */
  readonly word: string;
  readonly headers: globalThis.Headers;
  readonly text: string;
  /** Parsed, if it is JSON. */
  readonly body: AnyJson;
}

interface Asked {
  readonly method?: string;
  readonly headers?: Headers;
  /** Sent as JSON, unless it is a text. */
  readonly body?: unknown;
}

export async function ask(url: string, { method = 'GET', headers = {}, body }: Asked = {}): Promise<Answer> {
  const type: Headers = body === undefined ? {} : { 'content-type': 'application/json' };
  const response = await fetch(url, {
    method,
    headers: { ...type, ...headers },
    body: body === undefined ? null : typeof body === 'string' ? body : JSON.stringify(body),
  });
  const text = await response.text();
  const isJson = text !== '' && response.headers.get('content-type')?.includes('json');
  const parsed: AnyJson = isJson ? JSON.parse(text) : {};
  const { status, headers: received } = response;
  const faults = contractFaults(method, url, { status, headers: received, body: parsed });
  if (faults.length > 0) throw new Error(faults.join('\n'));
  return { status, word: `${status} ${parsed.code ?? parsed.status}`, headers: received, text, body: parsed };
}

export type TestApi = Awaited<ReturnType<typeof openApi>>;

/** An API on a port of its own. */
export async function openApi(world: World, settings: Settings = {}) {
  const api: RunningApi = await startApi(world, settings);
  let closing: Promise<void> | undefined;
  let metrics: Awaited<ReturnType<typeof api.connections.metrics.listen>> | undefined;
  return {
    ...api,
    get: (path: string, headers: Headers = {}) => ask(api.url + path, { headers }),
    ask: (path: string, asked: Asked) => ask(api.url + path, asked),
    order: (saleId: string, { buyer = 'ann', key = '', body = undefined as unknown, headers = {} as Headers } = {}) =>
      ask(`${api.url}/api/flash-sales/${saleId}/order`, {
        method: 'POST',
        headers: { 'x-user-id': buyer, ...(key === '' ? {} : { 'idempotency-key': key }), ...headers },
        body,
      }),
    readOrder: (id: string, buyer = 'ann') => ask(`${api.url}/api/orders/${id}`, { headers: { 'x-user-id': buyer } }),
    /** As an operator, below /api/admin. */
    admin: (method: string, path: string, body?: unknown, headers: Headers = BEARER) =>
      ask(`${api.url}/api/admin${path}`, { method, headers, body }),
    available: async (saleId: string) => (await api.connections.inventory.read(saleId)).numbers?.available,
    async metrics(): Promise<string> {
      metrics ??= await api.connections.metrics.listen({ host: '127.0.0.1', port: 0 });
      return (await ask(`http://127.0.0.1:${metrics.port}/metrics`)).text;
    },
    /** Again without effect. */
    close() {
      closing ??= api.close();
      metrics?.close();
      return closing;
    },
  };
}

/** Runs `work` with an API of other settings. */
export async function withApi<Result>(
  world: World,
  settings: Settings,
  work: (api: TestApi) => Promise<Result>,
): Promise<Result> {
  const api = await openApi(world, settings);
  try {
    return await work(api);
  } finally {
    await api.close();
  }
}

/** `count` calls at once. */
export const times = <Result>(count: number, work: (i: number) => Promise<Result>): Promise<Result[]> =>
  Promise.all(Array.from({ length: count }, (_, i) => work(i)));

/**
 * Web pages (queue board, API reference). Their packages take 25 MB of memory, so they are loaded
 * at the first request, into a separate Fastify instance that is asked for everything below one
 * path. The event loop serves one page a turn, so that orders never wait for a crowd of pages.
 */
import { createHash } from 'node:crypto';
import type { Socket } from 'node:net';
import { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest, LogController } from 'fastify';
import fresh from 'fresh';

/** Requests for pages at a time: enough for a dozen browsers. */
const CONCURRENT_PAGES_MAX = 200;
/** Of one connection: a browser waits for each, and one may just have ended. */
const CONNECTION_PAGES_MAX = 4;
/** Bytes of a page that are sent in a turn of the event loop: takes about as long as an order. */
const PIECE_BYTES = 64 * 1024;
/** Seconds that browsers and CDNs use a file that never changes while the process runs. */
const FILE_MAX_AGE_S = 300;
/** Headers of our own response, or about bytes that we send differently. */
const NOT_COPIED = new Set([
  ...['accept-ranges', 'cache-control', 'connection', 'content-length', 'date', 'etag', 'keep-alive'],
  ...['last-modified', 'transfer-encoding', 'vary'],
]);

const compress = promisify(gzip);

interface Page {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly body: Buffer;
}
/** Is kept in memory. */
interface File extends Page {
  readonly etag: string;
  readonly gzipped: Buffer;
}

/**
 * @param options.files path below which every page is a file or stays the same; if it is all of
 *   `path`, there is nothing else
 *
 * @param options.build registers the pages below `path`
 */
export function lazyPages(
  app: FastifyInstance,
  { path, files, build }: { path: string; files: string; build: (pages: FastifyInstance) => Promise<void> },
): void {
  // One name for each file: nothing encoded, no empty segment, no dots at the beginning of one.
  const isFile = (name: string): boolean => name.startsWith(files) && /^(\/[\w-][\w.-]*)+\/?$/.test(name);
  const known = new Map<string, Promise<Page | File>>();
  const inTurn = createTurns();
  let building: Promise<FastifyInstance> | undefined;
  let inProgress = 0;
  const byConnection = new WeakMap<Socket, number>();

  async function load(url: string): Promise<Page> {
    building ??= buildPages(app, build).catch((error: unknown) => {
      // The next request tries again.
      building = undefined;
      throw error;
    });
    const { statusCode: status, headers, rawPayload: body } = await (await building).inject(url);
    const copied = Object.entries(headers).filter(([name]) => !NOT_COPIED.has(name));
    return { status, headers: Object.fromEntries(copied) as Record<string, string>, body };
  }

  /** Sends a piece a turn: a write of megabytes takes longer than an order. */
  function inPieces(reply: FastifyReply, body: Buffer): FastifyReply {
    if (body.length <= PIECE_BYTES) return reply.send(body);
    async function* pieces() {
      for (let at = 0; at < body.length; at += PIECE_BYTES) {
        await inTurn();
        yield body.subarray(at, at + PIECE_BYTES);
      }
    }
    return reply.header('content-length', body.length).send(Readable.from(pieces(), { objectMode: false }));
  }

  /** Loads a file once, also for requests at the same time, and keeps it if it exists. */
  function loadFile(name: string): Promise<Page | File> {
    const loading = known.get(name) ?? load(name).then(toFile);
    known.set(name, loading);
    loading.then(
      (page) => isKept(page) || known.delete(name),
      () => known.delete(name),
    );
    return loading;
  }

  async function send(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    await inTurn();
    const { url = '' } = request.raw;
    const name = url.split('?', 1)[0] as string;
    if (files === path && !isFile(name)) return reply.problem('NOT_FOUND');
    const page = await (isFile(name) ? loadFile(name) : load(url));
    if (isKept(page)) return inPieces(reply, chooseBytes(page, request, reply));
    if (page.status < 400) return inPieces(reply.code(page.status).headers(page.headers), page.body);
    if (page.status >= 500) return reply.problem('INTERNAL');
    // A 403 is a path that leaves the folder of files.
    return reply.problem([403, 404].includes(page.status) ? 'NOT_FOUND' : 'INVALID_REQUEST');
  }

  app.addHook('onRequest', (request, reply, next) => {
    const { socket } = request.raw;
    const count = byConnection.get(socket) ?? 0;
    if (inProgress >= CONCURRENT_PAGES_MAX || count >= CONNECTION_PAGES_MAX) return void reply.problem('OVERLOADED');
    inProgress += 1;
    byConnection.set(socket, count + 1);
    // The reply is no substitute: if the connection closes before a pipelined reply has started,
    // the reply emits no event.
    request.raw.once('close', () => {
      inProgress -= 1;
      byConnection.set(socket, (byConnection.get(socket) ?? 1) - 1);
    });
    next();
  });
  for (const url of [path, `${path}/*`]) app.get(url, { schema: { hide: true } }, send);
  app.addHook('onClose', async () => (await building?.catch(() => undefined))?.close());
}

const isKept = (page: Page | File): page is File => 'etag' in page;

async function toFile(page: Page): Promise<Page | File> {
  if (page.status !== 200) return page;
  const etag = `W/"${createHash('sha256').update(page.body).digest('base64url').slice(0, 16)}"`;
  return { ...page, etag, gzipped: await compress(page.body) };
}

/** Sets the headers of this file. @returns what to send of it */
function chooseBytes(file: File, request: FastifyRequest, reply: FastifyReply): Buffer {
  const { etag, headers, body, gzipped } = file;
  reply.headers({ ...headers, etag, 'cache-control': `max-age=${FILE_MAX_AGE_S}`, vary: 'accept-encoding' });
  if (fresh(request.headers, { etag })) {
    reply.code(304);
    return Buffer.alloc(0);
  }
  if (!/\bgzip\b(?!\s*;\s*q=0)/.test(String(request.headers['accept-encoding']))) return body;
  reply.header('content-encoding', 'gzip');
  return gzipped;
}

/** @returns waits for a turn of the event loop in which no other page is served */
function createTurns(): () => Promise<void> {
  const waiting: (() => void)[] = [];
  const next = (): void => {
    waiting.shift()?.();
    if (waiting.length > 0) setImmediate(next);
  };
  return () =>
    new Promise((resolve) => {
      if (waiting.push(resolve) === 1) setImmediate(next);
    });
}

async function buildPages(
  app: FastifyInstance,
  build: (pages: FastifyInstance) => Promise<void>,
): Promise<FastifyInstance> {
  const logController = new LogController({ disableRequestLogging: true });
  const pages = fastify({ loggerInstance: app.log, logController });
  const { default: helmet } = await import('@fastify/helmet');
  await pages.register(helmet, pageHeaders);
  await build(pages);
  await pages.ready();
  return pages;
}

/** Security headers of the pages: no resources of other origins, no framing. */
const pageHeaders = {
  contentSecurityPolicy: {
    useDefaults: false,
    directives: {
      defaultSrc: ["'self'"],
      // Both pages set inline styles from scripts.
      styleSrc: ["'self'", "'unsafe-inline'"],
      imgSrc: ["'self'", 'data:'],
      fontSrc: ["'self'", 'data:'],
      objectSrc: ["'none'"],
      baseUri: ["'self'"],
      formAction: ["'self'"],
      frameAncestors: ["'none'"],
    },
  },
  frameguard: { action: 'deny' },
  // The gateway terminates TLS.
  strictTransportSecurity: false,
} as const;

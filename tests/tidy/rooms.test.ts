/** Which room may import what: the table of docs/architecture.md, as a test. */
import { dirname, join, normalize } from 'node:path';
import { expect, test } from 'vitest';
import { sourceFiles } from './source-files.ts';

interface Import {
  readonly from: string;
  /** Package name, or the path of the project's own file. */
  readonly to: string;
  readonly typeOnly: boolean;
}

const files = sourceFiles('.ts').filter(
  (file) => /^(apps|packages)\//.test(file.path) && !/\.test\.ts$|\/testing\//.test(file.path),
);

const imports: Import[] = files.flatMap((file) =>
  [...file.text.matchAll(/^import (type )?[^;]*?from '([^']+)'|^import '([^']+)'/gms)].map((match) => ({
    from: file.path,
    to: resolve(file.path, (match[2] ?? match[3]) as string),
    typeOnly: match[1] !== undefined,
  })),
);

function resolve(from: string, to: string): string {
  if (to.startsWith('.')) return normalize(join(dirname(from), to));
  const own = /^@flash-sale\/(\w+)\/(.+)$/.exec(to);
  if (!own) return to;
  const [, name, path] = own as unknown as [string, string, string];
  return `${name === 'core' || name === 'launcher' ? 'packages' : 'apps'}/${name}/src/${path}`;
}

const PURE =
  /^packages\/core\/src\/(limits|environment|way-in-settings|identity|identity-limits|certificate-fault|memory-limit|faults|redis\/redis-address|sales\/sale|orders\/order|stock\/reservation|read-clock)\.ts$/;

/** Files of the room; what they must not import (a type costs nothing at run time, but where `types` is set it counts, too). */
const rules: { room: RegExp; except?: RegExp; mayNot: RegExp; types?: true; because: string }[] = [
  {
    room: PURE,
    mayNot: /^(ioredis|pg|bullmq|fastify|pino|node-pg-migrate)$/,
    types: true,
    because: 'pure files know no part',
  },
  {
    room: /^packages\/core\/src\/stock\//,
    mayNot: /^(pg|bullmq|fastify)$|core\/src\/(postgres|queue)\//,
    types: true,
    because: 'the inventory is Redis only',
  },
  {
    room: /^apps\/api\/src\/identity\//,
    mayNot: /^(ioredis|pg|bullmq|fastify)$/,
    types: true,
    because: 'who a buyer is does not depend on how he was heard',
  },
  {
    room: /^packages\/core\/src\/queue\//,
    mayNot: /^(pg|fastify)$|core\/src\/(postgres|stock)\//,
    types: true,
    because: 'the queue knows neither stock nor ledger',
  },
  {
    room: /^packages\/core\/src\/(.*-store|postgres\/.*)\.ts$/,
    mayNot: /^(ioredis|bullmq|fastify)$|core\/src\/(redis|queue|stock)\//,
    types: true,
    because: 'the ledger knows neither inventory nor queue',
  },
  {
    room: /^packages\/core\//,
    mayNot: /^(fastify|@fastify\/)|^apps\/|^packages\/launcher\//,
    types: true,
    because: 'core is used, it uses nobody',
  },
  {
    room: /^packages\/core\/src\/metrics(\/.*)?\.ts$/,
    mayNot: /^(ioredis|pg|bullmq|fastify|pino)$|core\/src\/(?!limits|memory-limit|faults|metrics\/|stock\/outcomes)/,
    types: true,
    because: 'metrics count what they are told',
  },
  {
    room: /^(apps|packages)\//,
    except: /core\/src\/tracing\/open-tracing\.ts$/,
    mayNot: /^@opentelemetry\/|core\/src\/tracing\/open-tracing\.ts$/,
    because: 'the library of traces is loaded only where tracing is on',
  },
  {
    room: /^packages\/core\/src\/tracing\//,
    mayNot: /^(ioredis|pg|bullmq|fastify)$|core\/src\/(?!limits|tracing)/,
    types: true,
    because: 'a trace knows no part',
  },
  {
    room: /^packages\/core\/src\/audit\//,
    mayNot: /^bullmq$|core\/src\/(?!audit\/|redis\/(keys|open-redis|redis-address)\.ts$)/,
    types: true,
    because: 'the auditor reads raw, not through the code that it judges',
  },
  {
    room: /^packages\/core\/src\/doctor\//,
    mayNot: /^(ioredis|pg|bullmq)$/,
    types: true,
    because: 'servers are read by their rooms',
  },
  {
    room: /^packages\/core\/src\/doctor\/judge-/,
    mayNot: /^node:|^(pino)$|core\/src\/(postgres|queue|stock|orders|sales)\/|core\/src\/redis\/(?!redis-address)/,
    because: 'a judge is given facts',
  },
  {
    room: /^apps\/api\/src\//,
    except: /\/(main|connect)\.ts$/,
    mayNot: /^(ioredis|pg|bullmq)$|core\/src\/(postgres\/connect|redis\/(connect|open))/,
    types: true,
    because: 'connections are opened in one place',
  },
  {
    room: /^apps\/(api|worker)\/src\/.*\/(place-order|read-order|enqueue|read-sales|manage-sales|confirm-orders|reject-orders|reaper|sync-sales)\.ts$/,
    mayNot: /^(fastify|ioredis|pg|bullmq)$/,
    because: 'a use case is given what it works with',
  },
  {
    room: /^apps\/worker\/src\//,
    except: /\/(consume-orders|worker)\.ts$/,
    mayNot: /^(ioredis|pg|bullmq)$/,
    types: true,
    because: 'connections are opened in one place',
  },
  {
    room: /^apps\/api\//,
    mayNot: /^apps\/worker\/|^packages\/launcher\//,
    types: true,
    because: 'API and worker know nothing of each other',
  },
  {
    room: /^apps\/worker\//,
    mayNot: /^apps\/api\/|^packages\/launcher\/|^fastify/,
    types: true,
    because: 'API and worker know nothing of each other',
  },
];

test.each(rules)('$room may not import $mayNot: $because', ({ room, except, mayNot, types }) => {
  const inRoom = imports.filter(({ from }) => room.test(from) && !except?.test(from));
  expect(inRoom.length).toBeGreaterThan(0);
  const broken = inRoom.filter(({ to, typeOnly }) => mayNot.test(to) && (types || !typeOnly));
  expect(broken.map(({ from, to }) => `${from} imports ${to}`)).toEqual([]);
});

test('no file imports itself in a circle', () => {
  const next = new Map<string, string[]>();
  for (const { from, to, typeOnly } of imports) if (!typeOnly) next.set(from, [...(next.get(from) ?? []), to]);
  const done = new Set<string>();
  const circles: string[] = [];
  const visit = (path: string, way: string[]): void => {
    if (way.includes(path)) circles.push([...way.slice(way.indexOf(path)), path].join(' → '));
    if (done.has(path) || way.includes(path)) return;
    for (const to of next.get(path) ?? []) visit(to, [...way, path]);
    done.add(path);
  };
  for (const path of next.keys()) visit(path, []);
  expect(circles).toEqual([]);
});

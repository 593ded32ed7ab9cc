/** Which folder may import what: the table of CONTRIBUTING.md, as a test. Types count. */
import { dirname, join, normalize } from 'node:path';
import { expect, test } from 'vitest';
import { sourceFiles } from './source-files.ts';

interface Import {
  readonly from: string;
  /** Package name, or the path of the project's own file. */
  readonly to: string;
  readonly typeOnly: boolean;
}

const files = sourceFiles('.ts').filter(({ path }) => /^(apps|packages)\//.test(path) && !path.endsWith('.test.ts'));

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
  return `${name === 'api' || name === 'worker' ? 'apps' : 'packages'}/${name}/src/${path}`;
}

const IO = 'ioredis|pg|bullmq|fastify|pino|node:(fs|net|http|https|tls|dns|child_process)(/promises)?';

const rules: { folder: string; mayNot: RegExp }[] = [
  { folder: 'packages/core/src/domain/', mayNot: new RegExp(`^(${IO})$|core/src/(?!domain/|config/)`) },
  { folder: 'packages/core/src/inventory/', mayNot: /^(pg|bullmq)$|core\/src\/(ledger|queue)\// },
  { folder: 'packages/core/src/queue/', mayNot: /^pg$|core\/src\/(inventory|ledger)\// },
  { folder: 'packages/core/src/ledger/', mayNot: /^(ioredis|bullmq)$|core\/src\/(inventory|queue)\// },
  { folder: 'packages/core/src/runtime/', mayNot: /core\/src\/(inventory|queue|ledger)\// },
  { folder: 'packages/core/', mayNot: /^apps\/|^packages\/(ops|launcher)\/|^fastify$/ },
  { folder: 'packages/ops/', mayNot: /^apps\/|^packages\/launcher\// },
  { folder: 'apps/api/', mayNot: /^apps\/worker\/|^packages\/launcher\// },
  { folder: 'apps/worker/', mayNot: /^apps\/api\/|^packages\/launcher\// },
];

test.each(rules)('$folder may not import $mayNot', ({ folder, mayNot }) => {
  const inFolder = imports.filter(({ from }) => from.startsWith(folder));
  expect(inFolder.length).toBeGreaterThan(0);
  expect(inFolder.filter(({ to }) => mayNot.test(to)).map(({ from, to }) => `${from} imports ${to}`)).toEqual([]);
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

/** A CPU profile of V8 (`--cpu-prof`) as a flame graph in SVG: width is time, what is called stands on its caller. */

export interface CpuProfile {
  readonly nodes: readonly ProfileNode[];
  readonly samples: readonly number[];
  /** µs between samples. */
  readonly timeDeltas: readonly number[];
}

interface ProfileNode {
  readonly id: number;
  readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  readonly children?: readonly number[];
}

interface Frame {
  readonly name: string;
  us: number;
  readonly children: Map<string, Frame>;
}

const WIDTH = 1_200;
const ROW = 16;
/** Narrower ones are not drawn: px. */
const NARROWEST = 0.6;

/** "place-order.ts decided", "fastify/reply.js send", "node:net Socket._write" */
function nameOf({ callFrame: { functionName, url } }: ProfileNode): string {
  const file = url
    .replace(/^.*node_modules\/(?!.*node_modules\/)/, '')
    .replace(/^file:\/\/.*\/(apps|packages)\/(\w+)\/src\//, '$2/');
  const name = functionName === '' ? '(anonymous)' : functionName;
  return file === '' ? name : `${file.replace(/^file:\/\/.*\//, '')} ${name}`;
}

/** Functions by the time in themselves, the dearest first: µs. Idle time is left out. */
export function selfTimes(profile: CpuProfile): { name: string; us: number }[] {
  const byId = new Map(profile.nodes.map((node) => [node.id, node]));
  const times = new Map<string, number>();
  profile.samples.forEach((id, i) => {
    const node = byId.get(id);
    if (!node || node.callFrame.functionName === '(idle)') return;
    const name = nameOf(node);
    times.set(name, (times.get(name) ?? 0) + (profile.timeDeltas[i] ?? 0));
  });
  return [...times].map(([name, us]) => ({ name, us })).sort((a, b) => b.us - a.us);
}

export function flameGraph(profile: CpuProfile, title: string): string {
  const root = grow(profile);
  const boxes: string[] = [];
  const depth = draw(root, 0, 0, WIDTH / root.us, boxes);
  const height = (depth + 2) * ROW + 24;
  const rows = boxes.map((box) => box.replace(/y="(\d+)"/, (_, row) => `y="${height - (Number(row) + 1) * ROW - 4}"`));
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="monospace" font-size="10">
<rect width="100%" height="100%" fill="white"/>
<text x="4" y="16" font-size="14">${escaped(title)}</text>
${rows.join('\n')}
</svg>
`;
}

function grow(profile: CpuProfile): Frame {
  const byId = new Map(profile.nodes.map((node) => [node.id, node]));
  const parents = new Map<number, number>();
  for (const node of profile.nodes) for (const child of node.children ?? []) parents.set(child, node.id);
  const root: Frame = { name: 'all', us: 0, children: new Map() };
  profile.samples.forEach((sample, i) => {
    const us = profile.timeDeltas[i] ?? 0;
    const path: string[] = [];
    for (let id: number | undefined = sample; id !== undefined; id = parents.get(id)) {
      const node = byId.get(id);
      if (node && node.callFrame.functionName !== '(root)') path.push(nameOf(node));
    }
    if (path[0] === '(idle)') return;
    let frame = root;
    frame.us += us;
    for (const name of path.reverse()) {
      let child = frame.children.get(name);
      if (!child) {
        child = { name, us: 0, children: new Map() };
        frame.children.set(name, child);
      }
      child.us += us;
      frame = child;
    }
  });
  return root;
}

/** @returns the deepest row */
function draw(frame: Frame, x: number, row: number, scale: number, boxes: string[]): number {
  const width = frame.us * scale;
  if (width < NARROWEST) return row;
  const label = escaped(frame.name.slice(0, Math.floor(width / 6.2)));
  const part = ((width / WIDTH) * 100).toFixed(1);
  boxes.push(
    `<svg x="${x.toFixed(1)}" y="${row}" width="${width.toFixed(1)}" height="${ROW - 1}"><title>${escaped(frame.name)}: ${part} %</title>` +
      `<rect width="100%" height="100%" fill="${colour(frame.name)}"/><text x="2" y="11">${label}</text></svg>`,
  );
  let deepest = row;
  let at = x;
  for (const child of [...frame.children.values()].sort((a, b) => b.us - a.us)) {
    deepest = Math.max(deepest, draw(child, at, row + 1, scale, boxes));
    at += child.us * scale;
  }
  return deepest;
}

/** Ours blue, Node's grey, libraries' sand, native code and the collector red. */
function colour(name: string): string {
  if (/^(api|worker|core)\//.test(name)) return '#9ecae1';
  if (name.startsWith('node:')) return '#d9d9d9';
  return /\.(c|m)?js /.test(name) ? '#f6e8c3' : '#fc9272';
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}

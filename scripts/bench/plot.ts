/** The page's picture: bars of requests a second by connections, and lines of latency by load. Plain SVG, so that it needs no library to be seen. */
import type { BenchResults } from './results.ts';

const WIDTH = 860;
const HEIGHT = 320;
const COLOURS = { bare: '#9aa5b1', accepted: '#2166ac', sold_out: '#4dac26', limited: '#d8b365', replayed: '#8073ac' };

interface Series {
  readonly name: string;
  readonly colour: string;
  /** One for each group; undefined where it was not measured. */
  readonly values: readonly (number | undefined)[];
}

export function plot(results: BenchResults): string {
  const closed = results.closed;
  const rate = (kind: 'accepted' | 'sold_out' | 'limited' | 'replayed'): Series => ({
    name: kind.replace('_', ' '),
    colour: COLOURS[kind],
    values: closed.map(({ kinds }) => kinds[kind]?.rate.median),
  });
  const bars = chart({
    title: 'Requests a second, closed loop, by connections',
    groups: closed.map(({ connections }) => String(connections)),
    series: [
      { name: 'bare Fastify', colour: COLOURS.bare, values: closed.map(({ bare }) => bare.rate.median) },
      rate('accepted'),
      rate('sold_out'),
      rate('limited'),
      rate('replayed'),
    ],
    y: 0,
  });
  const latency = chart({
    title: 'p99 in ms, open loop, by part of the capacity',
    groups: results.open.map(({ part, perSecond }) => `${part * 100} % (${perSecond}/s)`),
    series: [
      { name: 'bare Fastify', colour: COLOURS.bare, values: results.open.map(({ bareP99 }) => bareP99.median) },
      { name: 'accepted', colour: COLOURS.accepted, values: results.open.map(({ p99 }) => p99.median) },
    ],
    y: HEIGHT,
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT * 2}" font-family="sans-serif" font-size="12">
<title>Requests a second and latency, beside a bare Fastify</title>
<rect width="100%" height="100%" fill="white"/>
${bars}
${latency}
</svg>
`;
}

function chart(facts: { title: string; groups: readonly string[]; series: readonly Series[]; y: number }): string {
  const { title, groups, series, y } = facts;
  const [left, top, bottom] = [60, 50, 40];
  const height = HEIGHT - top - bottom;
  const most = Math.max(...series.flatMap(({ values }) => values.map((value) => value ?? 0)), 1);
  const groupWidth = (WIDTH - left - 20) / groups.length;
  const barWidth = Math.min(40, (groupWidth - 20) / series.length);
  const base = y + top + height;
  const parts = [`<text x="${left}" y="${y + 22}" font-size="15" font-weight="bold">${title}</text>`];
  for (const part of [0, 0.25, 0.5, 0.75, 1]) {
    const at = base - height * part;
    parts.push(
      `<line x1="${left}" x2="${WIDTH - 20}" y1="${at}" y2="${at}" stroke="#e4e7eb"/>`,
      `<text x="${left - 6}" y="${at + 4}" text-anchor="end" fill="#52606d">${inShort(most * part)}</text>`,
    );
  }
  for (const [g, group] of groups.entries()) {
    const x = left + g * groupWidth + 10;
    parts.push(`<text x="${x + groupWidth / 2 - 10}" y="${base + 18}" text-anchor="middle">${group}</text>`);
    for (const [s, { colour, values }] of series.entries()) {
      const value = values[g];
      if (value === undefined) continue;
      const tall = (height * value) / most;
      parts.push(
        `<rect x="${x + s * barWidth}" y="${(base - tall).toFixed(1)}" width="${barWidth - 3}" height="${tall.toFixed(1)}" fill="${colour}"/>`,
        `<text x="${x + s * barWidth + barWidth / 2 - 1}" y="${(base - tall - 4).toFixed(1)}" text-anchor="middle" font-size="10">${inShort(value)}</text>`,
      );
    }
  }
  for (const [s, { name, colour }] of series.entries()) {
    const x = left + 330 + s * 95;
    parts.push(
      `<rect x="${x}" y="${y + 30}" width="10" height="10" fill="${colour}"/>`,
      `<text x="${x + 14}" y="${y + 39}">${name}</text>`,
    );
  }
  return parts.join('\n');
}

/** 12.3k, 340, 7.5 */
function inShort(value: number): string {
  if (value >= 1_000) return `${(value / 1_000).toFixed(1)}k`;
  return value >= 100 ? value.toFixed(0) : value.toFixed(1);
}

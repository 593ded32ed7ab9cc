/** One check of several servers: a line where all are well, else a line for each that is not. */
import type { Finding } from './checks.ts';

/** @param judged the same check, of each server */
export function ofAll(judged: readonly { place: string; finding: Finding }[]): Finding[] {
  const [first] = judged;
  if (!first || judged.length === 1) return first ? [first.finding] : [];
  const bad = judged.filter(({ finding }) => finding.outcome !== 'ok');
  if (bad.length > 0) return bad.map(({ place, finding }) => ({ ...finding, found: `${place}: ${finding.found}` }));
  const said = new Set(judged.map(({ finding }) => finding.found));
  const found =
    said.size === 1 ? first.finding.found : judged.map(({ place, finding }) => `${place}: ${finding.found}`).join('; ');
  return [{ ...first.finding, found: said.size === 1 ? `${found} (${judged.length} masters)` : found }];
}

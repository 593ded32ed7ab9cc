/** What is shown of a lie: the order's history as the auditor heard it, and the lines of the logs that name the order or the request. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Auditor, Lie } from './model.ts';
import type { Parts } from './parts.ts';

/** Of each kind of lie, and lines of each. */
const SHOWN_OF_A_KIND = 6;
const LOG_LINES = 25;

export function gatherEvidence(auditor: Auditor, parts: Parts): string[] {
  if (auditor.lies.length === 0) return [];
  parts.keep('lies.txt', `${auditor.lies.map(headline).join('\n')}\n`);
  const logs = readLogs(parts.logFolder);
  const shown = [...Map.groupBy(auditor.lies, (lie) => lie.kind).values()].flatMap((lies) =>
    lies.slice(0, SHOWN_OF_A_KIND),
  );
  return shown.map((lie) => {
    const order = lie.orderId === null ? undefined : auditor.orders.get(lie.orderId);
    const told = order?.story ?? [];
    const names = [lie.orderId, lie.n > 0 ? `"call-${lie.n}"` : null].filter((name) => name !== null);
    const lines = logs.filter((line) => names.some((name) => line.includes(name))).slice(0, LOG_LINES);
    return [headline(lie), ...told.map((line) => `    ${line}`), ...lines.map((line) => `    ${line}`)].join('\n');
  });
}

function headline({ kind, sentence, at, n, orderId }: Lie): string {
  return `${kind.toUpperCase()} at ${(at / 1_000).toFixed(3)}: ${sentence}${n > 0 ? ` (call-${n})` : ''}${orderId ? ` [${orderId}]` : ''}`;
}

function readLogs(folder: string): string[] {
  return readdirSync(folder)
    .filter((file) => /^(api|worker)-\d+\.log/.test(file))
    .sort()
    .flatMap((file) =>
      readFileSync(join(folder, file), 'utf8')
        .split('\n')
        .map((line) => `${file}: ${line}`),
    );
}

import type { AuditReport, Violation } from '@flash-sale/ops/audit/audit-report.ts';

/** Everything that keeps a report from being clean, a line each. */
export function listFaults({ sales, queue }: AuditReport): string[] {
  const line = ({ code, subject, detail }: Violation): string => `${code} ${subject}: ${detail}`;
  return [
    ...sales.flatMap(({ saleId, violations, unchecked }) => [
      ...violations.map((found) => `${saleId}: ${line(found)}`),
      ...(unchecked === null ? [] : [`${saleId}: not checked: ${unchecked}`]),
    ]),
    ...queue.violations.map(line),
  ];
}

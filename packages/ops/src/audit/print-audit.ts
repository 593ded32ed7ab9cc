/** An audit for people: a few lines for each sale, then what is wrong with it. */
import type { AuditBreak, AuditReport, Equation, SaleAudit } from './audit-report.ts';

export function printAudit({ sales, queue, looks }: AuditReport): string {
  const count = queue.breaks.length + sales.reduce((sum, { breaks }) => sum + breaks.length, 0);
  const blocks = sales.map(printSale);
  if (queue.breaks.length > 0) blocks.push(['queue', ...printBreaks(queue.breaks)].join('\n'));
  const howOften = looks === 1 ? '1 look' : `${looks} looks`;
  const sum = `${sales.length === 1 ? '1 sale' : `${sales.length} sales`}, ${howOften}`;
  const unjudged = sales.filter((sale) => sale.unjudged !== null).length;
  const outcome = [
    ...(count === 0 ? [] : [count === 1 ? '1 break' : `${count} breaks`]),
    ...(unjudged === 0 ? [] : [`${unjudged} not judged`]),
  ];
  blocks.push(`${sum}: ${outcome.join(', ') || 'clean'}`);
  return `${blocks.join('\n\n')}\n`;
}

function printSale({ saleId, epoch, inventory, equation, ledger, live, unjudged, breaks }: SaleAudit): string {
  const about = [
    saleId,
    `inventory ${inventory}`,
    ...(epoch === null ? [] : [`epoch ${epoch}`]),
    ...(live ? ['live'] : []),
  ];
  const sold = `${ledger.sold} of ${ledger.allotment} sold`;
  return [
    about.join('   '),
    `  inventory     ${equation ? printEquation(equation) : 'not judged'}`,
    epoch === null
      ? '  ledger   does not know it'
      : `  ledger   ${sold}, ${ledger.confirmed} orders confirmed, ${ledger.rejected} rejected`,
    ...(unjudged === null ? [] : [`  UNJUDGED ${unjudged}`]),
    ...printBreaks(breaks),
  ].join('\n');
}

function printEquation({ allotment, available, reserved, held, sold, holds }: Equation): string {
  const sum = `${available} available + ${reserved} reserved + ${held} held + ${sold} sold`;
  return `${allotment} ${holds ? '=' : '≠'} ${sum}   ${holds ? 'holds' : 'BROKEN'}`;
}

function printBreaks(breaks: readonly AuditBreak[]): string[] {
  return breaks.map(({ code, subject, detail }) => printable(`  BREAK    ${code}  ${subject}  ${detail}`));
}

/** Ids are what somebody sent or wrote: none may move the cursor of whoever reads this. */
function printable(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, '�');
}

/** What the commands that read logs report of each file, so that no log is taken for read that was not. */
import { findLogs, type LogRead } from './accepted-log-files.ts';

type Say = (line: string) => void;

const time = (ms: number): string => new Date(ms).toISOString();

function describeRead({ file, accepted, rejected, firstAt, lastAt }: LogRead): string {
  const orders = `${accepted} accepted ${accepted === 1 ? 'order' : 'orders'}`;
  const times = firstAt === null || lastAt === null ? '' : `, from ${time(firstAt)} to ${time(lastAt)}`;
  const ends = rejected === 0 ? '' : `, ${rejected} rejected`;
  return `  read ${file === '-' ? 'standard input' : file}: ${orders}${times}${ends}`;
}

/** @returns options of readAcceptedLogs */
export const reportLogs = (say: Say) => ({
  onRead: (read: LogRead): void => say(describeRead(read)),
  onGone: (file: string): void => say(`  gone ${file}: it was removed or rotated before it was read`),
});

/** @param given as of findLogs. @returns whether every file of the folders is read. @throws as findLogs */
export function reportSkipped(given: readonly string[], say: Say): boolean {
  const skipped = new Map(given.flatMap((one) => findLogs(one).skipped).map(({ file, why }) => [file, why]));
  for (const [file, why] of skipped) say(`  NOT READ ${file}: ${why}.`);
  return skipped.size === 0;
}

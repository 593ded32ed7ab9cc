/** What the commands that read logs say of each file, so that nobody takes a log for read that was not. */
import { findLogs, type LogRead } from '@flash-sale/ops/recover/accepted-log-files.ts';

const time = (ms: number): string => new Date(ms).toISOString();

function describeRead({ file, accepted, rejected, firstAt, lastAt }: LogRead): string {
  const orders = `${accepted} accepted ${accepted === 1 ? 'order' : 'orders'}`;
  const times = firstAt === null || lastAt === null ? '' : `, from ${time(firstAt)} to ${time(lastAt)}`;
  const ends = rejected === 0 ? '' : `, ${rejected} rejected`;
  return `  read ${file === '-' ? 'standard input' : file}: ${orders}${times}${ends}`;
}

/** For readAcceptedLogs. */
export const tellOfLogs = {
  onRead: (read: LogRead): void => say(describeRead(read)),
  onGone: (file: string): void =>
    say(`  gone ${file}: it was removed, or set aside under another name, before it was read`),
};

/** @param given as of findLogs. @returns whether every file of the folders among it is read. @throws as findLogs */
export function tellOfSkipped(given: readonly string[]): boolean {
  const skipped = new Map(given.flatMap((one) => findLogs(one).skipped).map(({ file, why }) => [file, why]));
  for (const [file, why] of skipped) say(`  NOT READ ${file}: ${why}.`);
  return skipped.size === 0;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

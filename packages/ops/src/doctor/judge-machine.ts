/** The machine that this runs on. */
import type { Environment } from '@flash-sale/core/config/environment.ts';
import { isLoopback } from '@flash-sale/core/config/loopback.ts';
import { DISK_FULL_BYTES, DISK_LEFT_BYTES, FILES_OF_ITS_OWN, NODE_MAJOR_MIN } from './bounds.ts';
import { type Finding, ok, warning, wrong } from './checks.ts';
import type { Unseen } from './collect-facts.ts';
import type { Disk } from './read-machine.ts';
import type { SeenPostgres } from './read-postgres.ts';
import { bytes } from './words.ts';

export function judgeNode(version: string): Finding {
  return Number.parseInt(version, 10) >= NODE_MAJOR_MIN
    ? ok('NODE_VERSION', version)
    : wrong('NODE_VERSION', version, `Node ${NODE_MAJOR_MIN}: "npm start" brings it along, else https://nodejs.org`);
}

/** @param openFiles that one process may have; null: this system does not say */
export function judgeOpenFiles(openFiles: number | null, { MAX_CONNECTIONS }: Environment): Finding {
  if (openFiles === null) return ok('OPEN_FILES', 'this system does not tell its bound');
  const needed = MAX_CONNECTIONS + FILES_OF_ITS_OWN;
  const found = `${openFiles === Number.POSITIVE_INFINITY ? 'no bound' : openFiles}, and MAX_CONNECTIONS=${MAX_CONNECTIONS}`;
  return openFiles < needed
    ? wrong(
        'OPEN_FILES',
        found,
        `ulimit -n ${needed} before the start (systemd: LimitNOFILE=${needed}), or a lower MAX_CONNECTIONS`,
      )
    : ok('OPEN_FILES', found);
}

export function judgeDisks(disks: readonly Disk[]): Finding[] {
  if (disks.length === 0) return [ok('DISK', 'nothing is kept on this machine')];
  return disks.map(({ folders, freeBytes }) => {
    const found = `${bytes(freeBytes)} free for ${folders.join(', ')}`;
    const mend = `make room, or a larger disk (df -h ${folders[0]})`;
    if (freeBytes < DISK_FULL_BYTES) return wrong('DISK', found, mend);
    return freeBytes < DISK_LEFT_BYTES ? warning('DISK', found, mend) : ok('DISK', found);
  });
}

/** A disk that was looked at is judged with the others; of one that was not, it is said so. */
export function judgeLedgerDisk(disks: readonly Disk[], postgres: SeenPostgres | Unseen): Finding[] {
  if ('unseen' in postgres) return [];
  const { host, dataFolder } = postgres;
  const notSeen = (why: string): Finding[] => [ok('DISK', `that of PostgreSQL was not seen: ${why}`)];
  if (!isLoopback(host)) return notSeen(`${host} is another machine`);
  if (dataFolder === null) return notSeen('our role may not ask for data_directory (GRANT pg_read_all_settings)');
  const isSeen = disks.some(({ folders }) => folders.includes(dataFolder));
  return isSeen ? [] : notSeen(`${dataFolder} is not here, or not for this account`);
}

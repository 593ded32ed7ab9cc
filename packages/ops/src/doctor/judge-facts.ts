/** All judges over all facts, in the order in which a person reads them. */
import { type Finding, ok, wrong } from './checks.ts';
import type { Facts, Unseen } from './collect-facts.ts';
import { judgeAuth, judgeJwtSecret } from './judge-identity.ts';
import { judgeDisks, judgeLedgerDisk, judgeNode, judgeOpenFiles } from './judge-machine.ts';
import { judgeMigrations, judgePostgres } from './judge-postgres.ts';
import { judgeRedis } from './judge-redis.ts';
import { judgePasswords, judgeToken } from './judge-secrets.ts';
import { judgeLogLevel, judgeMetrics, judgeMode, judgeWayIn } from './judge-settings.ts';

/** @param process_ whose matters are judged: those of one service as it starts, or of the whole system */
export function judgeFacts(facts: Facts, process_: 'api' | 'worker' | 'all'): Finding[] {
  const { settings, disks, nodeVersion, openFiles } = facts;
  const crowd = process_ !== 'worker';
  return [
    ...(process_ === 'all' ? [judgeMode(settings)] : []),
    ...(crowd ? [judgeAuth(settings), judgeJwtSecret(settings), judgeToken(settings)] : []),
    judgePasswords(settings),
    ...(crowd ? judgeWayIn(settings) : []),
    judgeMetrics(settings),
    judgeLogLevel(settings),
    judgeNode(nodeVersion),
    ...(crowd ? [judgeOpenFiles(openFiles, settings)] : []),
    ...judgeDisks(disks),
    ...judgeLedgerDisk(disks, facts.postgres),
    ...judgeRedisFacts(facts),
    ...judgePostgresFacts(facts, process_),
  ];
}

function judgeRedisFacts({ redis, settings }: Facts): Finding[] {
  if ('unseen' in redis) return [unseen('REDIS_ANSWERS', redis, 'start it, or correct REDIS_URL')];
  const [first] = redis.nodes;
  const where = first && redis.nodes.length === 1 ? `${first.host}:${first.port}` : `${redis.nodes.length} masters`;
  return [ok('REDIS_ANSWERS', where), ...judgeRedis(redis, settings.BACKLOG_LIMIT)];
}

function judgePostgresFacts(
  { postgres, redis, outdated, settings }: Facts,
  process_: 'api' | 'worker' | 'all',
): Finding[] {
  if ('unseen' in postgres) return [unseen('POSTGRES_ANSWERS', postgres, 'start it, or correct DATABASE_URL')];
  const clocksOfRedis = 'unseen' in redis ? [] : redis.nodes.map(({ clock }) => clock);
  return [
    ok('POSTGRES_ANSWERS', postgres.host),
    ...judgePostgres(postgres, settings, { clocksOfRedis, process_ }),
    ...(outdated === undefined ? [] : [judgeMigrations(outdated)]),
  ];
}

/** A sentence that ends with what to do is cut in two. */
function unseen(code: 'REDIS_ANSWERS' | 'POSTGRES_ANSWERS', { unseen: sentence }: Unseen, mend: string): Finding {
  const parts = /^(.*\))\. ([^)]+)$/s.exec(sentence);
  return parts ? wrong(code, parts[1] as string, parts[2] as string) : wrong(code, sentence, mend);
}

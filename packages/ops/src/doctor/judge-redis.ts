/** One Redis server, or each master of a cluster, by what it says of itself. */
import { REDIS_MAJOR_MIN } from '@flash-sale/core/config/limits.ts';
import { isLoopback } from '@flash-sale/core/config/loopback.ts';
import {
  AOF_REWRITE_MIN_BYTES,
  COMMAND_MS,
  MEMORY_LEFT_PART,
  ORDER_BYTES,
  ROUND_TRIP_MEDIAN_MS,
  ROUND_TRIP_WORST_MS,
  SMALL_HASH_MAX,
} from './bounds.ts';
import { type Finding, ok, warning, wrong } from './checks.ts';
import { judgeClock } from './judge-clock.ts';
import { ofAll } from './of-all.ts';
import type { RedisNode, SeenRedis } from './read-redis.ts';
import { bytes, milliseconds } from './words.ts';

/** @param backlogLimit orders of one sale that may wait for the ledger */
export function judgeRedis(seen: SeenRedis, backlogLimit: number): Finding[] {
  const { nodes } = seen;
  const judges = [
    judgeVersion,
    judgeLogin,
    judgeTls,
    judgeWritable,
    judgeReplicas,
    judgeEviction,
    judgeAppendOnly,
    judgeAppendFsync,
    judgeRewrite,
    judgeExpiry,
    judgeSmallHashes,
    (node: RedisNode) => judgeMemory(node, backlogLimit),
    judgeLatency,
    (node: RedisNode) => judgeClock('REDIS_CLOCK', node.clock),
  ];
  const findings = judges.map((judge) => nodes.map((node) => ({ place: placeOf(node), finding: judge(node) })));
  return [...findings.flatMap(ofAll), ...judgeCluster(seen)];
}

const placeOf = ({ host, port }: RedisNode): string => `${host}:${port}`;

/** The command to type. Of a cluster each node is told for itself; redis-cli reads neither its address nor that of sentinels. */
function tell({ named, host, port }: RedisNode, command: string): string {
  return named === 'server'
    ? `redis-cli -u "$REDIS_URL" ${command}`
    : `redis-cli -h ${host} -p ${port} --askpass ${command}`;
}

const setConfig = (node: RedisNode, what: string): string =>
  `${tell(node, `CONFIG SET ${what}`)}, and in its file (CONFIG REWRITE)`;

function judgeVersion({ version }: RedisNode): Finding {
  return Number.parseInt(version, 10) >= REDIS_MAJOR_MIN
    ? ok('REDIS_VERSION', version)
    : wrong('REDIS_VERSION', version || 'it does not say', `upgrade it to ${REDIS_MAJOR_MIN} or newer`);
}

function judgeLogin(node: RedisNode): Finding {
  // Where the server does not tell its users, our own way in is all there is to go by.
  const open = node.opensToAnybody ?? !node.loggedIn;
  if (!open) return ok('REDIS_LOGIN', 'a login is asked for');
  const mend = `${tell(node, 'CONFIG SET requirepass …')}, in its file, and in REDIS_URL`;
  return isLoopback(node.host)
    ? warning('REDIS_LOGIN', 'no password is asked for: everybody on this machine may write to it', mend)
    : wrong('REDIS_LOGIN', 'no password is asked for', mend);
}

function judgeTls({ tls, host }: RedisNode): Finding {
  if (tls) return ok('REDIS_TLS', 'TLS');
  return isLoopback(host)
    ? ok('REDIS_TLS', 'none: this machine only')
    : warning(
        'REDIS_TLS',
        `none, and ${host} is another machine`,
        'tls-port in its file, and rediss:// in REDIS_URL; or a network that nobody else is on',
      );
}

function judgeWritable(node: RedisNode): Finding {
  if (node.role !== 'master') {
    return wrong(
      'REDIS_WRITABLE',
      `it is a ${node.role || 'server without a role'}`,
      'the address of its primary in REDIS_URL',
    );
  }
  if (!node.persists) {
    return wrong(
      'REDIS_WRITABLE',
      'its last writing to the disk failed',
      `look at its log and its disk; then ${tell(node, 'INFO persistence')}`,
    );
  }
  return ok('REDIS_WRITABLE', 'yes');
}

/** Of one server that nothing takes over from, nothing is asked. docs/decisions.md says why sentinels and a cluster want opposite things. */
function judgeReplicas(node: RedisNode): Finding {
  const { named, replicas, replicasToWrite } = node;
  if (named === 'server') return ok('REDIS_REPLICAS', 'one server: nothing takes over from it');
  if (replicas === 0)
    return warning('REDIS_REPLICAS', 'no replica: nothing takes over from it', tell(node, 'INFO replication'));
  const found = `${replicas} connected, min-replicas-to-write ${replicasToWrite ?? 'not shown'}`;
  if (named === 'sentinel' && replicasToWrite === 0)
    return warning(
      'REDIS_REPLICAS',
      `${found}: cut off, it goes on accepting what is lost with it`,
      setConfig(node, 'min-replicas-to-write 1 min-replicas-max-lag 2'),
    );
  if (replicasToWrite !== null && replicasToWrite >= replicas)
    return warning(
      'REDIS_REPLICAS',
      `${found}: whichever takes over has one fewer, and refuses orders`,
      `one replica more; or ${setConfig(node, `min-replicas-to-write ${replicas - 1}`)}`,
    );
  return ok('REDIS_REPLICAS', found);
}

function judgeEviction(node: RedisNode): Finding {
  return node.policy === 'noeviction'
    ? ok('REDIS_EVICTION', 'noeviction')
    : wrong(
        'REDIS_EVICTION',
        `maxmemory-policy ${node.policy}: no process starts on it`,
        setConfig(node, 'maxmemory-policy noeviction'),
      );
}

function judgeAppendOnly(node: RedisNode): Finding {
  return node.appendOnly
    ? ok('REDIS_AOF', 'append-only file on')
    : warning(
        'REDIS_AOF',
        'append-only file off: what was accepted since the last snapshot is lost with the process',
        setConfig(node, 'appendonly yes'),
      );
}

/** Of a server that does not show its configuration to us neither this nor the next can be said. */
const HIDDEN = 'it does not show its configuration';

const setHidden = (what: string): string =>
  `${what} in its settings, or those of its provider; or let our user see it: ACL SETUSER … +config|get`;

function judgeAppendFsync(node: RedisNode): Finding {
  const { appendFsync, appendOnly } = node;
  if (!appendOnly) return ok('REDIS_APPENDFSYNC', 'no append-only file');
  if (appendFsync === null) return warning('REDIS_APPENDFSYNC', HIDDEN, setHidden('appendfsync everysec'));
  return appendFsync === 'no'
    ? warning('REDIS_APPENDFSYNC', 'no: mostly up to 30 s', setConfig(node, 'appendfsync everysec'))
    : ok('REDIS_APPENDFSYNC', appendFsync === 'always' ? 'always: nothing' : `${appendFsync}: up to two seconds`);
}

function judgeExpiry(node: RedisNode): Finding {
  const wanted = 'lazyfree-lazy-expire yes';
  if (node.expiresLazily === null) return warning('REDIS_LAZY_EXPIRE', HIDDEN, setHidden(wanted));
  return node.expiresLazily
    ? ok('REDIS_LAZY_EXPIRE', 'yes')
    : warning('REDIS_LAZY_EXPIRE', 'no: 18 ms for 100,000 buckets', setConfig(node, wanted));
}

function judgeSmallHashes(node: RedisNode): Finding {
  const wanted = 'hash-max-listpack-entries 64';
  const { listpackEntries } = node;
  if (listpackEntries === null) return warning('REDIS_SMALL_HASHES', HIDDEN, setHidden(wanted));
  return listpackEntries <= SMALL_HASH_MAX
    ? ok('REDIS_SMALL_HASHES', `searched up to ${listpackEntries} fields`)
    : warning(
        'REDIS_SMALL_HASHES',
        `searched from end to end up to ${listpackEntries} fields`,
        setConfig(node, wanted),
      );
}

function judgeRewrite(node: RedisNode): Finding {
  const { rewriteMinBytes, appendOnly } = node;
  if (!appendOnly) return ok('REDIS_AOF_REWRITE', 'no append-only file');
  const least = bytes(AOF_REWRITE_MIN_BYTES);
  if (rewriteMinBytes === null) {
    return warning('REDIS_AOF_REWRITE', HIDDEN, setHidden('auto-aof-rewrite-min-size 256mb'));
  }
  return rewriteMinBytes < AOF_REWRITE_MIN_BYTES
    ? warning(
        'REDIS_AOF_REWRITE',
        `from ${bytes(rewriteMinBytes)} on; ${least} is a million orders`,
        setConfig(node, 'auto-aof-rewrite-min-size 256mb'),
      )
    : ok('REDIS_AOF_REWRITE', `from ${bytes(rewriteMinBytes)} on`);
}

function judgeMemory(node: RedisNode, backlogLimit: number): Finding {
  const { usedBytes, maxBytes, systemBytes } = node;
  if (maxBytes === 0) {
    const half = Math.max(Math.floor(systemBytes / 2 / 1024 ** 2), 100);
    return warning(
      'REDIS_MEMORY',
      `${bytes(usedBytes)} used, and no maxmemory`,
      setConfig(node, `maxmemory ${half}mb`),
    );
  }
  const left = maxBytes - usedBytes;
  const found = `${bytes(Math.max(left, 0))} of ${bytes(maxBytes)} left`;
  // Redis takes no fraction.
  const more = setConfig(node, `maxmemory ${Math.ceil((maxBytes * 2) / 1024 ** 2)}mb`);
  if (left <= 0) return wrong('REDIS_MEMORY', `${found}: it refuses orders`, more);
  const backlogBytes = backlogLimit * ORDER_BYTES;
  if (left < backlogBytes) {
    return warning(
      'REDIS_MEMORY',
      `${found}, and one sale's BACKLOG_LIMIT=${backlogLimit} may take ${bytes(backlogBytes)}`,
      `${more}; or a lower BACKLOG_LIMIT`,
    );
  }
  return left < maxBytes * MEMORY_LEFT_PART ? warning('REDIS_MEMORY', found, more) : ok('REDIS_MEMORY', found);
}

function judgeLatency(node: RedisNode): Finding {
  const sorted = node.roundTripsMs.toSorted((a, b) => a - b);
  const median = sorted[Math.floor(sorted.length / 2)] ?? 0;
  const worst = sorted.at(-1) ?? 0;
  const { slowest } = node;
  const slow = slowest !== null && slowest.ms > COMMAND_MS;
  const past = slow ? `; within the last hour one ${slowest.command} took ${milliseconds(slowest.ms)}` : '';
  const found = `median ${milliseconds(median)}, worst ${milliseconds(worst)} of ${sorted.length} round trips${past}`;
  const mend = `${tell(node, '--latency')}, SLOWLOG GET 10 and LATENCY DOCTOR; put it into the same room as the API`;
  return slow || median > ROUND_TRIP_MEDIAN_MS || worst > ROUND_TRIP_WORST_MS
    ? warning('REDIS_LATENCY', found, mend)
    : ok('REDIS_LATENCY', found);
}

function judgeCluster({ nodes, queuePrefix }: SeenRedis): Finding[] {
  const [first] = nodes;
  if (!first?.cluster) return [];
  const { ok: isOk, slots, masters } = first.cluster;
  if (first.named === 'server' && masters > 1) {
    return [
      wrong(
        'REDIS_CLUSTER',
        `a cluster of ${masters} masters, and REDIS_URL names one server`,
        'redis+cluster:// (with TLS rediss+cluster://) at the beginning of REDIS_URL',
      ),
    ];
  }
  if (!isOk || slots < SLOTS) {
    return [wrong('REDIS_CLUSTER', `${slots} of ${SLOTS} slots are served`, tell(first, 'CLUSTER INFO'))];
  }
  return [ok('REDIS_CLUSTER', `${masters} masters, every slot served; the queue's keys share one: ${queuePrefix}`)];
}

/** Of every Redis Cluster. */
const SLOTS = 16_384;

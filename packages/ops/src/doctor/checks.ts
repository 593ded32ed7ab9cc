/** What the doctor looks into, and what it says of it. */

/** Each check, and why it matters: a sentence that is true whatever was found. */
const WHY = {
  // The settings of the processes
  SETTINGS: 'A process does not start with a setting that it cannot read.',
  MODE: 'Only in production nothing is made up, and a process looks at this list as it starts.',
  AUTH: 'Whoever can say that he is another buyer orders in his name, and reads his orders.',
  JWT_SECRET: 'Whoever knows the secret makes tokens for any buyer.',
  ADMIN_TOKEN: 'Whoever has the token makes sales and moves stock.',
  ADMIN_DOOR: 'What buyers cannot reach they cannot try tokens on.',
  SERVER_PASSWORDS:
    'Whoever logs in to Redis can have orders confirmed, and whoever logs in to PostgreSQL can write them.',
  HOST: 'Whoever reaches the port orders as whoever he likes where X-User-ID is believed, and reads tokens on the way where it is not.',
  TRUST_PROXY:
    'An address that is believed from anybody can be made up: limits and the record of operators would count made-up ones.',
  ADDRESS_LIMIT: 'It is what one address meets before its requests cost anything, guesses at the token among them.',
  RATE_LIMITS: 'Without them one buyer, or one second, takes all that Redis can do.',
  BACKLOG: 'Orders that wait for the ledger are promises that only Redis knows.',
  TIMEOUTS: 'Times that overlap cut requests off that would have been answered.',
  METRICS: 'Whoever reaches the metrics is not asked who he is.',
  LOG_LEVEL: 'What went wrong is said in lines of level warn and error.',
  CORS: 'A browser shows answers to pages of other origins only where a header allows it.',
  // This machine
  NODE_VERSION: 'Node runs the TypeScript as it stands; older ones do not, or do it as a trial.',
  OPEN_FILES: 'A process that has no file left accepts no connection, and loses those to Redis and PostgreSQL.',
  DISK: 'On a full disk Redis and PostgreSQL take nothing more, and the accepted-order log loses lines.',
  // Redis
  REDIS_ANSWERS: 'Redis is the inventory: without it nothing is sold.',
  REDIS_VERSION: 'The scripts and BullMQ need it.',
  REDIS_LOGIN: 'Whoever can write to Redis can have orders confirmed.',
  REDIS_TLS: 'Password, buyers and orders can be read on the way.',
  REDIS_WRITABLE: 'A Redis that takes no writes takes no orders.',
  REDIS_REPLICAS: 'What a master had alone is lost with it, and so is the sale where nothing takes over.',
  REDIS_EVICTION: 'A key that is thrown away is a promised unit that is forgotten.',
  REDIS_AOF: 'An accepted order is only in Redis until the ledger has it.',
  REDIS_APPENDFSYNC: 'It decides how many seconds of accepted orders a power cut may take.',
  REDIS_AOF_REWRITE: 'Writing the file anew in the middle of a sale costs every order time.',
  REDIS_LAZY_EXPIRE: 'As the buckets of a sale that has ended expire, Redis stands still until all are freed.',
  REDIS_SMALL_HASHES:
    'As a sale opens, its hashes are still small, and each order would wait for a search from end to end.',
  REDIS_MEMORY:
    'A full Redis refuses orders; one without a bound is killed by the system, and loses what it had not written.',
  REDIS_LATENCY: 'Every order waits for Redis.',
  REDIS_CLOCK: 'A sale opens and ends by the clock of Redis.',
  REDIS_CLUSTER: 'A sale whose slot nobody has is not sold.',
  // PostgreSQL
  POSTGRES_ANSWERS: 'PostgreSQL is the ledger: without it no order is confirmed.',
  POSTGRES_VERSION: 'The ledger is tested with these versions.',
  POSTGRES_LOGIN: 'Whoever can write to the ledger decides what was sold.',
  POSTGRES_TLS: 'Password, buyers and orders can be read on the way.',
  POSTGRES_WRITABLE: 'A ledger that takes no writes confirms no orders.',
  POSTGRES_ISOLATION:
    'Batches of one sale wait for each other at its row and then read what the other one wrote; in a stricter level they fail instead.',
  POSTGRES_DURABILITY: 'A confirmed order is in the ledger alone: Redis has let go of it.',
  POSTGRES_CONNECTIONS: 'A process that gets no connection cannot confirm or read orders.',
  POSTGRES_MIGRATIONS: 'A process does not start on a ledger that is older than it.',
  POSTGRES_CLOCK: 'Rows carry its time, answers that of Redis.',
} as const;

export type CheckCode = keyof typeof WHY;
export type Outcome = 'ok' | 'warning' | 'wrong';

export interface Finding {
  readonly code: CheckCode;
  readonly outcome: Outcome;
  /** What was seen. Holds no secret. */
  readonly found: string;
  readonly why: string;
  /** The line to set or the command to type. null: nothing is to be mended. */
  readonly mend: string | null;
}

export function ok(code: CheckCode, found: string): Finding {
  return { code, outcome: 'ok', found, why: WHY[code], mend: null };
}

/** Works, and is no good footing for a sale. */
export function warning(code: CheckCode, found: string, mend: string): Finding {
  return { code, outcome: 'warning', found, why: WHY[code], mend };
}

/** Does not work, or will lose promises or let strangers in. */
export function wrong(code: CheckCode, found: string, mend: string): Finding {
  return { code, outcome: 'wrong', found, why: WHY[code], mend };
}

export interface DoctorReport {
  /** ISO 8601, by this machine's clock. */
  readonly at: string;
  /** The worst of them. */
  readonly outcome: Outcome;
  readonly findings: readonly Finding[];
}

export function reportOf(findings: readonly Finding[]): DoctorReport {
  const has = (outcome: Outcome): boolean => findings.some((finding) => finding.outcome === outcome);
  return {
    at: new Date().toISOString(),
    outcome: has('wrong') ? 'wrong' : has('warning') ? 'warning' : 'ok',
    findings,
  };
}

/** @returns 0: all is well; 1: something is wrong; 2: nothing is wrong, and there are warnings */
export function exitCodeOf({ outcome }: DoctorReport): 0 | 1 | 2 {
  if (outcome === 'wrong') return 1;
  return outcome === 'warning' ? 2 : 0;
}

/**
 * Every setting: type, default, meaning. `production` is the default with NODE_ENV=production (the
 * source document's production column). .env.example and the table in docs/reference.md are
 * generated from this file. Values that all shops share are constants: next to their use, or in
 * CONSTANTS.
 */
import { type IntegerOptions, type StringOptions, Type } from '@sinclair/typebox';

const integer = (
  description: string,
  options: IntegerOptions & { default: number; minimum: number; maximum: number; production?: number },
) => Type.Integer({ description, ...options });

const text = (description: string, options: StringOptions = {}) => Type.String({ description, ...options });

const oneOf = <const Words extends readonly string[]>(words: Words, description: string, options: object = {}) =>
  Type.Unsafe<Words[number]>(
    Type.Union(
      words.map((word) => Type.Literal(word)),
      { description, ...options },
    ),
  );

const port = (description: string, options: { default: number; minimum: 0 | 1 }) =>
  integer(description, { ...options, maximum: 65_535 });

const PROCESS = {
  NODE_ENV: oneOf(
    ['development', 'production', 'test'],
    'development, production or test. Production has defaults of its own, and requires AUTH and ADMIN_TOKEN.',
    { default: 'development' },
  ),
  HOST: text('Address that the API listens on; 0.0.0.0 for all.', { default: '127.0.0.1', minLength: 1 }),
  PORT: port('TCP port of the API.', { default: 5001, minimum: 1 }),
  API_PROCESSES: integer(
    'API processes that `npm start` runs on PORT. 0: one for each core, at most 4; on Linux only.',
    {
      default: 0,
      minimum: 0,
      maximum: 64,
    },
  ),
  WORKER_PROCESSES: integer('Worker processes that `npm start` runs.', { default: 1, minimum: 1, maximum: 64 }),
  SHUTDOWN_DRAIN_MS: integer(
    'Milliseconds that a stopping API keeps serving while it reports not ready, so that load balancers notice.',
    { default: 0, minimum: 0, maximum: 300_000 },
  ),
  WARM_UP: oneOf(
    ['on', 'off'],
    'on: API and worker run their code for 2 s before they are ready, so that the first orders are fast.',
    { default: 'on' },
  ),
  DATA_DIR: text('Folder of `npm start`: its private Redis and PostgreSQL, their secrets, and the logs.', {
    default: '.data',
    minLength: 1,
  }),
  DEMO_SALES: oneOf(['on', 'off'], 'on: `npm start` and `docker compose up` create two demo sales.', {
    default: 'on',
    production: 'off',
  }),
};

const STORES = {
  REDIS_URL: Type.Optional(
    text(
      'redis:// or rediss:// address of Redis 7 or newer (host:port, or host:port/database number); redis+cluster:// or rediss+cluster:// with nodes of a cluster (host:port,host:port; database 0 only); redis+sentinel:// or rediss+sentinel:// with sentinels and the name of the master (host:port,host:port/name). Unset: `npm start` runs a private server.',
      { examples: ['redis://user:password@host:6379/0'] },
    ),
  ),
  DATABASE_URL: Type.Optional(
    text('postgres:// address of PostgreSQL 15 or newer. Unset: `npm start` runs a private server.', {
      pattern: '^postgres(ql)?://.+',
    }),
  ),
  DATABASE_POOL_SIZE: integer('Connections to PostgreSQL per API process. A worker has 9.', {
    default: 10,
    production: 50,
    minimum: 1,
    maximum: 500,
  }),
  KEY_PREFIX: text('Prefix of every Redis key, so that several systems can share one Redis.', {
    default: 'flash-sale',
    pattern: '^[a-z0-9][a-z0-9_-]{0,31}$',
  }),
  REQUEST_TIMEOUT_MS: integer('Milliseconds that a request waits for Redis or PostgreSQL before it gets 503.', {
    default: 5_000,
    production: 2_000,
    minimum: 100,
    // Below SHUTDOWN_TIMEOUT_MS: a stopping process answers the requests that it has.
    maximum: 9_000,
  }),
};

const LIMITS = {
  GLOBAL_RATE_LIMIT: integer('Orders a second that all API processes together pass to the inventory; 0 = no limit.', {
    default: 2_000,
    production: 5_000,
    minimum: 0,
    maximum: 10_000_000,
  }),
  RATE_LIMIT_TOKENS: integer("Tokens in a buyer's full bucket; an order takes one; 0 = no limit per buyer.", {
    default: 100,
    production: 20,
    minimum: 0,
    maximum: 1_000_000,
  }),
  TOKEN_REFILL_RATE: integer("Tokens a second that refill a buyer's bucket.", {
    default: 20,
    minimum: 1,
    maximum: 1_000_000,
  }),
  IP_RATE_LIMIT: integer('Requests a second per address and API process, on any route but health; 0 = no limit.', {
    default: 0,
    minimum: 0,
    maximum: 10_000_000,
  }),
  BACKLOG_LIMIT: integer('Orders of one sale that may wait for the ledger; further ones get 503 LEDGER_BEHIND.', {
    default: 50_000,
    minimum: 1,
    maximum: 10_000_000,
  }),
  MAX_CONNECTIONS: integer('Connections that one API process holds; further ones are closed at once.', {
    default: 15_000,
    minimum: 10,
    maximum: 1_000_000,
  }),
};

const ACCESS = {
  AUTH: Type.Optional(
    oneOf(
      ['jwt', 'header'],
      'jwt: the buyer is the subject of a bearer token. header: X-User-ID is trusted, for development and behind a gateway that sets it. Unset: header in development; refused in production.',
    ),
  ),
  JWT_SECRET: Type.Optional(
    text(
      'Secret of HS256 tokens: 32 or more printable characters without spaces. AUTH=jwt needs this or JWT_JWKS_URL, not both.',
      { minLength: 32, maxLength: 1_024, pattern: '^[!-~]+$' },
    ),
  ),
  JWT_JWKS_URL: Type.Optional(
    text(
      'Address of the key set (JWKS) of RS256, ES256 or EdDSA tokens; https:// in production, except on this machine.',
      { pattern: '^https?://.+' },
    ),
  ),
  JWT_ISSUER: Type.Optional(text('Required value of the claim iss; needed with AUTH=jwt.', { maxLength: 1_024 })),
  JWT_AUDIENCE: Type.Optional(
    text('Required value of the claim aud, or of one of its entries; needed with AUTH=jwt.', { maxLength: 1_024 }),
  ),
  CORS_ORIGINS: text(
    "Origins whose pages may call the buyers' routes, separated by commas: https://shop.example, without a path. Empty: none.",
    { default: '' },
  ),
  TRUST_PROXY: text(
    'Proxies whose X-Forwarded-For is trusted: addresses or ranges separated by commas (10.0.0.0/8), or loopback, linklocal, uniquelocal. Empty: none.',
    { default: '' },
  ),
  ADMIN_TOKEN: Type.Optional(
    text(
      "The operator's secret: 16 to 512 printable characters without spaces. Required in production; elsewhere `npm start` creates one and prints it.",
      { minLength: 16, maxLength: 512, pattern: '^[!-~]+$' },
    ),
  ),
  ADMIN_PORT: port("TCP port of the operators' routes and the queue board, which are then not on PORT; 0 = on PORT.", {
    default: 0,
    minimum: 0,
  }),
  ADMIN_HOST: text('Address that ADMIN_PORT listens on.', { default: '127.0.0.1', minLength: 1 }),
};

const OBSERVABILITY = {
  LOG_LEVEL: oneOf(
    ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'],
    'Lowest level that is logged: fatal, error, warn, info, debug, trace or silent. "order accepted" is always logged.',
    { default: 'info' },
  ),
  LOG_FILE: text(
    'File for the log, rotated at 20 MB; each process needs its own. Empty: stdout. `npm start` sets it.',
    {
      default: '',
    },
  ),
  METRICS_PORT: port(
    'TCP port of GET /metrics (Prometheus); 0 = off. Each process needs its own: `npm start` counts up from it, API processes first.',
    { default: 0, minimum: 0 },
  ),
  METRICS_HOST: text('Address that METRICS_PORT listens on; it has no authentication.', {
    default: '127.0.0.1',
    minLength: 1,
  }),
  OTEL_EXPORTER_OTLP_ENDPOINT: Type.Optional(
    text(
      'OpenTelemetry collector (OTLP over HTTP), like http://localhost:4318, without /v1/traces. Unset: no tracing.',
      {
        pattern: '^https?://.+',
      },
    ),
  ),
  OTEL_TRACES_SAMPLER: oneOf(
    ['traceidratio', 'parentbased_traceidratio'],
    'traceidratio: OTEL_TRACES_SAMPLER_ARG decides. parentbased_traceidratio: the sampled flag of an incoming traceparent decides; only behind a gateway that sets it.',
    { default: 'traceidratio' },
  ),
  OTEL_TRACES_SAMPLER_ARG: Type.Number({
    default: 0.01,
    minimum: 0,
    maximum: 1,
    description: 'Share of requests that are traced, from 0 to 1.',
  }),
};

/** Secrets that only the API needs: every other process gets them empty, also from .env. */
export const API_SECRETS = ['ADMIN_TOKEN', 'JWT_SECRET'] as const;

/** Settings by group; .env.example has a heading for each. */
export const SETTING_GROUPS = {
  Process: PROCESS,
  'Redis and PostgreSQL': STORES,
  Limits: LIMITS,
  Access: ACCESS,
  'Logs, metrics and traces': OBSERVABILITY,
};

export const SettingsSchema = Type.Object({ ...PROCESS, ...STORES, ...LIMITS, ...ACCESS, ...OBSERVABILITY });

/**
 * Constants that tests shorten. With NODE_ENV=test, environment variables with these names override
 * them, so that a test can also shorten those of a child process.
 */
export const CONSTANTS = {
  /**
   * Requests that one API process answers at a time; further ones get 503 OVERLOADED. 0 = no bound.
   */
  OVERLOAD_IN_FLIGHT: 5_000,
  /** Milliseconds of event-loop delay above which fewer requests are admitted. 0 = off. */
  OVERLOAD_LOOP_DELAY_MS: 250,
  /**
   * Milliseconds that a client has to send a whole request, or to begin one, before it gets 408.
   */
  RECEIVE_TIMEOUT_MS: 10_000,
  /**
   * Milliseconds between two requests of a connection; longer than the 60 s of most load balancers.
   */
  KEEP_ALIVE_TIMEOUT_MS: 72_000,
  /** Jobs that one worker confirms at a time; each holds a connection to PostgreSQL. */
  WORKER_CONCURRENCY: 4,
  /**
   * Milliseconds that a worker waits for a connection or a statement. A buyer's request may need a
   * shorter bound (REQUEST_TIMEOUT_MS); a batch of orders is no request.
   */
  WORKER_STATEMENT_MS: 5_000,
  /** Niceness of workers, so that the API has priority on a shared machine. */
  WORKER_NICE: 10,
  /** Milliseconds after which a reservation without an outcome is an orphan. */
  ORPHAN_AGE_MS: 10_000,
  /** Milliseconds between two runs of the reaper and of the sale sync. */
  REAPER_INTERVAL_MS: 2_000,
  /** Milliseconds that a job's lock lasts without renewal. */
  JOB_LOCK_MS: 6_000,
  /** Milliseconds that one call of a worker waits for a job. */
  JOB_POLL_MS: 5_000,
  /**
   * Milliseconds that Redis may be silent before a worker reconnects: longer than JOB_POLL_MS and
   * BullMQ's longest blocking wait (10 s). A dead connection would hang for 15 minutes.
   */
  WORKER_SILENT_MS: 20_000,
  /** Milliseconds that a worker's heartbeat is valid; it is sent every third of that. */
  WORKER_ALIVE_MS: 15_000,
  /** Milliseconds that a stopping process has to finish, after SHUTDOWN_DRAIN_MS. */
  SHUTDOWN_TIMEOUT_MS: 10_000,
};

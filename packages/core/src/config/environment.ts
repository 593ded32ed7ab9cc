/**
 * The one declared tree of settings. Each has a type, a default, a unit and a meaning; .env.example is checked against it.
 * This file reads nothing by itself: a main hands in its environment.
 */
import { isIP } from 'node:net';
import { type Static, type TSchema, Type } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import { hostsMeet, isOriginList, WAY_IN_SETTINGS } from './access-settings.ts';
import { readRedisAddress } from './redis-address.ts';

const integer = (description: string, options: { default: number; minimum: number; maximum: number }) =>
  Type.Integer({ description, ...options });

export const EnvironmentSchema = Type.Object({
  NODE_ENV: Type.Union([Type.Literal('development'), Type.Literal('production'), Type.Literal('test')], {
    default: 'development',
    description:
      'development, production or test. In production nothing is made up: AUTH and ADMIN_TOKEN must be set and no demo sales are made.',
  }),
  HOST: Type.String({
    default: '127.0.0.1',
    minLength: 1,
    description: 'Address the API listens on; 0.0.0.0 means every one.',
  }),
  PORT: integer('TCP port the API listens on.', { default: 5001, minimum: 1, maximum: 65_535 }),
  API_PROCESSES: integer('API processes that `npm start` runs side by side on PORT (more than one needs Linux).', {
    default: 1,
    minimum: 1,
    maximum: 64,
  }),
  WORKER_PROCESSES: integer('Worker processes that `npm start` runs side by side.', {
    default: 1,
    minimum: 1,
    maximum: 64,
  }),
  WORKER_CONCURRENCY: integer(
    'Jobs that one worker process confirms at the same time; each holds one database connection.',
    {
      default: 4,
      minimum: 1,
      maximum: 64,
    },
  ),
  WORKER_NICE: integer(
    'How far a worker stands back for other processes of its machine (nice): buyers are answered first, the ledger follows.',
    { default: 10, minimum: 0, maximum: 19 },
  ),
  REDIS_URL: Type.Optional(
    Type.String({
      pattern: '^rediss?(\\+(cluster|sentinel))?://.+',
      description:
        'redis:// or rediss:// address of Redis 7 or newer; redis+cluster:// or rediss+cluster:// with some nodes of a cluster (host:port,host:port; database 0 only); redis+sentinel:// or rediss+sentinel:// with some sentinels and the name of their master (host:port,host:port/name). Unset: `npm start` runs a private one.',
    }),
  ),
  REDIS_MEMORY_MB: integer(
    'Megabytes that the private Redis of `npm start` may hold before it refuses orders; 0 = a quarter of the memory.',
    { default: 0, minimum: 0, maximum: 10_000_000 },
  ),
  DATABASE_URL: Type.Optional(
    Type.String({
      pattern: '^postgres(ql)?://.+',
      description: 'postgres:// address of PostgreSQL 15 or newer. Unset: `npm start` runs a private one.',
    }),
  ),
  DATABASE_POOL_SIZE: integer('Connections to PostgreSQL that each process may hold.', {
    default: 10,
    minimum: 2,
    maximum: 500,
  }),
  KEY_PREFIX: Type.String({
    default: 'flash-sale',
    pattern: '^[a-z0-9][a-z0-9_-]{0,31}$',
    description: 'First part of every Redis key, so that several systems can share one Redis.',
  }),
  REQUEST_TIMEOUT_MS: integer(
    'Milliseconds a request may wait for Redis or PostgreSQL before it is answered with 503.',
    {
      default: 5_000,
      minimum: 100,
      maximum: 60_000,
    },
  ),
  GLOBAL_RATE_LIMIT: integer('Orders a second that the whole system lets through to the stock; 0 = no limit.', {
    default: 2_000,
    minimum: 0,
    maximum: 10_000_000,
  }),
  RATE_LIMIT_TOKENS: integer("Tokens in a buyer's full bucket; an order takes one; 0 = no limit per buyer.", {
    default: 100,
    minimum: 0,
    maximum: 1_000_000,
  }),
  TOKEN_REFILL_RATE: integer("Tokens a second that come back into a buyer's bucket.", {
    default: 20,
    minimum: 1,
    maximum: 1_000_000,
  }),
  IP_RATE_LIMIT: integer('Requests a second that one address may make of one API process, on any route; 0 = off.', {
    default: 0,
    minimum: 0,
    maximum: 10_000_000,
  }),
  OVERLOAD_IN_FLIGHT: integer(
    'Requests of the crowd that one API process answers at the same time; further ones are told 503; 0 = no bound.',
    { default: 5_000, minimum: 0, maximum: 1_000_000 },
  ),
  OVERLOAD_LOOP_DELAY_MS: integer(
    'Milliseconds that the event loop of an API process may run late before it lets in only a part of OVERLOAD_IN_FLIGHT; 0 = off.',
    { default: 250, minimum: 0, maximum: 60_000 },
  ),
  MAX_CONNECTIONS: integer('Connections that one API process holds; further ones are closed at once.', {
    default: 15_000,
    minimum: 10,
    maximum: 1_000_000,
  }),
  RECEIVE_TIMEOUT_MS: integer(
    'Milliseconds that a client has to send a whole request, or to begin one on a new connection, before it is told 408.',
    { default: 10_000, minimum: 500, maximum: 300_000 },
  ),
  KEEP_ALIVE_TIMEOUT_MS: integer('Milliseconds that a connection may stay open between two requests.', {
    default: 72_000,
    minimum: 500,
    maximum: 600_000,
  }),
  TRUST_PROXY: Type.String({
    default: '',
    description:
      'Proxies whose X-Forwarded-For is believed: addresses or ranges with commas (10.0.0.0/8), or loopback, linklocal, uniquelocal. Empty: nobody.',
  }),
  ADMIN_TOKEN: Type.Optional(
    Type.String({
      minLength: 16,
      maxLength: 512,
      pattern: '^[!-~]+$',
      description:
        "The operator's secret, 16 to 512 printable characters without spaces. In production it must be set; elsewhere `npm start` makes one where it is unset, and prints it.",
    }),
  ),
  ...WAY_IN_SETTINGS,
  LOG_LEVEL: Type.Union(
    ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'].map((level) => Type.Literal(level)) as [
      ReturnType<typeof Type.Literal<'info'>>,
    ],
    {
      default: 'info',
      description:
        'Least severe line that is logged: fatal, error, warn, info, debug, trace or silent. "order accepted" is always logged.',
    },
  ),
  LOG_FILE: Type.String({
    default: '',
    description:
      'File that the process writes its lines to and sets aside above 20 MB; each process needs its own. Empty: stdout. `npm start` sets it for each.',
  }),
  ORPHAN_AGE_MS: integer('Milliseconds that a reservation may stay uncommitted before the reaper looks into it.', {
    default: 10_000,
    minimum: 100,
    maximum: 3_600_000,
  }),
  REAPER_INTERVAL_MS: integer('Milliseconds between two turns of the repair loops.', {
    default: 2_000,
    minimum: 50,
    maximum: 600_000,
  }),
  JOB_LOCK_MS: integer(
    "Milliseconds that a worker's hold on a job lasts without being renewed; half of it lies between two looks for jobs whose worker is gone.",
    {
      default: 6_000,
      minimum: 500,
      maximum: 600_000,
    },
  ),
  BACKLOG_LIMIT: integer(
    'Orders of one sale that may wait for the ledger at a time; above it orders are refused with 503 LEDGER_BEHIND.',
    {
      default: 50_000,
      minimum: 1,
      maximum: 10_000_000,
    },
  ),
  METRICS_PORT: integer(
    'TCP port of the metrics (GET /metrics, for Prometheus); 0 = off. Each process of a machine needs its own: `npm start` counts on from it, API processes first.',
    { default: 0, minimum: 0, maximum: 65_535 },
  ),
  METRICS_HOST: Type.String({
    default: '127.0.0.1',
    minLength: 1,
    description:
      'Address the metrics are listened for on; 0.0.0.0 means every one. Nobody who can reach it is asked who they are.',
  }),
  TRACING_URL: Type.Optional(
    Type.String({
      pattern: '^https?://.+',
      description:
        'Address of an OpenTelemetry collector that takes OTLP over HTTP, as http://localhost:4318 (without /v1/traces). Unset: nothing is traced.',
    }),
  ),
  TRACING_SAMPLE: Type.Number({
    default: 0.01,
    minimum: 0,
    maximum: 1,
    description: 'Part of the requests that are traced, 0 to 1, where TRACING_URL is set.',
  }),
  TRACING_TRUST: Type.Union([Type.Literal('on'), Type.Literal('off')], {
    default: 'off',
    description:
      'on: where a traceparent comes with a request, its sampled flag decides instead of TRACING_SAMPLE. Only behind a gateway that sets it itself.',
  }),
  SHUTDOWN_DRAIN_MS: integer(
    'Milliseconds that an API process which is told to stop still serves while it says that it is not ready, so that balancers notice; part of SHUTDOWN_TIMEOUT_MS, and below it.',
    { default: 0, minimum: 0, maximum: 300_000 },
  ),
  SHUTDOWN_TIMEOUT_MS: integer('Milliseconds that a process has to finish what it accepted once it is told to stop.', {
    default: 10_000,
    minimum: 500,
    maximum: 600_000,
  }),
  DATA_DIR: Type.String({
    default: '.data',
    minLength: 1,
    description: 'Folder of the private Redis, the private PostgreSQL, their secrets and the logs of `npm start`.',
  }),
  DEMO_SALES: Type.Union([Type.Literal('on'), Type.Literal('off')], {
    default: 'on',
    description: 'on: `npm start` makes the two demo sales where they do not exist (never in production).',
  }),
});

export type Environment = Static<typeof EnvironmentSchema>;

/** A setting is missing or out of range. The message names each one, what was found and what is expected. */
export class EnvironmentError extends Error {
  override name = 'EnvironmentError';
}

/**
 * Checks raw variables against the schema and fills in the defaults.
 *
 * @param variables name → text, as in process.env; unknown names are ignored, an empty text counts as unset
 * @throws EnvironmentError with one sentence for each setting that is wrong
 */
export function readEnvironment(variables: Record<string, string | undefined>): Environment {
  const known: Record<string, unknown> = {};
  for (const name of Object.keys(EnvironmentSchema.properties)) {
    const text = variables[name]?.trim();
    if (text !== undefined && text !== '') known[name] = asDeclared(name as keyof Environment, text);
  }
  const filled = Value.Default(EnvironmentSchema, known);
  const sentences = new Map<string, string>();
  if (!isProxyList(variables.TRUST_PROXY?.trim() ?? ''))
    sentences.set('TRUST_PROXY', sentence('TRUST_PROXY', variables.TRUST_PROXY));
  const redisUrl = variables.REDIS_URL?.trim();
  if (redisUrl && !readRedisAddress(redisUrl)) sentences.set('REDIS_URL', sentence('REDIS_URL', redisUrl));
  const origins = variables.CORS_ORIGINS?.trim() ?? '';
  if (!isOriginList(origins)) sentences.set('CORS_ORIGINS', sentence('CORS_ORIGINS', origins));
  if (sentences.size === 0 && Value.Check(EnvironmentSchema, filled)) {
    refuseOneDoor(filled);
    const { SHUTDOWN_DRAIN_MS: drainMs, SHUTDOWN_TIMEOUT_MS: timeoutMs } = filled;
    if (drainMs < timeoutMs) return filled;
    sentences.set(
      'SHUTDOWN_DRAIN_MS',
      `${sentence('SHUTDOWN_DRAIN_MS', String(drainMs))} SHUTDOWN_TIMEOUT_MS is ${timeoutMs}.`,
    );
  }
  for (const error of Value.Errors(EnvironmentSchema, filled)) {
    const name = error.path.slice(1).split('/')[0] ?? '';
    if (!sentences.has(name)) sentences.set(name, sentence(name, variables[name]));
  }
  throw new EnvironmentError([...sentences.values()].join('\n'));
}

/** On a port that processes share the kernel would lead buyers to the operator's routes. @throws EnvironmentError */
function refuseOneDoor({ HOST, PORT, ADMIN_HOST, ADMIN_PORT }: Environment): void {
  if (ADMIN_PORT === PORT && hostsMeet(HOST, ADMIN_HOST))
    throw new EnvironmentError(`ADMIN_PORT is ${PORT}, which is PORT. Set another one, or 0 for one door.`);
}

function isProxyList(text: string): boolean {
  if (text === '') return true;
  return text.split(',').every((part) => {
    const [address = '', bits] = part.trim().split('/');
    if (bits === undefined && ['loopback', 'linklocal', 'uniquelocal'].includes(address)) return true;
    const most = isIP(address) === 4 ? 32 : isIP(address) === 6 ? 128 : -1;
    return most > 0 && (bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= most));
  });
}

function asDeclared(name: keyof Environment, text: string): unknown {
  const declared: TSchema = EnvironmentSchema.properties[name];
  // Only plain decimal digits are a number: "1e3", "0x10" and " 5 apples" stay text and are refused by the schema.
  if (declared.type === 'number' && /^\d{1,9}(\.\d{1,9})?$/.test(text)) return Number(text);
  return declared.type === 'integer' && /^-?\d{1,15}$/.test(text) ? Number(text) : text;
}

function sentence(name: string, found: string | undefined): string {
  const declared = EnvironmentSchema.properties[name as keyof Environment] as TSchema;
  const secret = name === 'ADMIN_TOKEN' || name.endsWith('_SECRET') || name.endsWith('_URL');
  const shown = found === undefined ? 'is not set' : secret ? 'has a value that does not fit' : `is "${found}"`;
  const range = declared.type === 'integer' ? ` A whole number from ${declared.minimum} to ${declared.maximum}.` : '';
  return `${name} ${shown}. Expected: ${declared.description}${range}`;
}

/** @throws EnvironmentError when a setting that this process cannot do without is not set */
export function requireSetting<Name extends 'REDIS_URL' | 'DATABASE_URL' | 'ADMIN_TOKEN'>(
  environment: Environment,
  name: Name,
): string {
  const value = environment[name];
  if (value === undefined) throw new EnvironmentError(sentence(name, undefined));
  return value;
}

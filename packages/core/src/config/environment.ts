/**
 * Parses and validates environment variables. The caller passes them in; process.env is not read
 * here.
 */
import { isIP } from 'node:net';
import { KindGuard, type Static, type TSchema } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import { redisAddressFault } from './redis-address.ts';
import { CONSTANTS, SettingsSchema } from './settings.ts';

export type Environment = Static<typeof SettingsSchema> & typeof CONSTANTS;

/**
 * A setting is missing or invalid. The message has a line for each: the value found and the
 * expected one.
 */
export class EnvironmentError extends Error {
  override name = 'EnvironmentError';
}

type SettingName = keyof typeof SettingsSchema.properties;
type Settings = Static<typeof SettingsSchema>;
type Variables = Record<string, string | undefined>;

/** Checks that a pattern cannot express: false, or what is wrong. */
const checks: Partial<Record<SettingName, (text: string) => boolean | string>> = {
  TRUST_PROXY: isProxyList,
  REDIS_URL: (text) => redisAddressFault(text) ?? true,
  CORS_ORIGINS: (text) => originsOf(text).every(isOrigin),
};

/**
 * Checks variables against the schema and fills in the defaults.
 *
 * @param variables name to text, as in process.env; unknown names are ignored, an empty text counts
 * as unset
 * @throws EnvironmentError with one sentence for each wrong setting
 */
export function readEnvironment(variables: Variables): Environment {
  const production = variables.NODE_ENV?.trim() === 'production';
  const given: Record<string, unknown> = {};
  const sentences: string[] = [];
  for (const [name, schema] of Object.entries(SettingsSchema.properties) as [SettingName, TSchema][]) {
    const text = variables[name]?.trim() ?? '';
    if (text === '') {
      const value = production ? (schema.production ?? schema.default) : schema.default;
      if (value !== undefined) given[name] = value;
      continue;
    }
    given[name] = asDeclared(schema, text);
    const found = checks[name]?.(text) ?? true;
    if (typeof found === 'string')
      sentences.push(
        `${name} does not fit: ${found}. Expected: ${schema.examples[0]}, or another form of .env.example.`,
      );
    else if (!Value.Check(schema, given[name]) || !found) sentences.push(sentence(name, text));
  }
  if (sentences.length > 0) throw new EnvironmentError(sentences.join('\n'));
  const settings = given as Settings;
  refuseSharedPort(settings);
  return { ...settings, ...(settings.NODE_ENV === 'test' ? testConstants(variables) : CONSTANTS) };
}

/** @throws EnvironmentError when a setting that this process needs is not set */
export function requireSetting<Name extends 'REDIS_URL' | 'DATABASE_URL' | 'ADMIN_TOKEN'>(
  environment: Environment,
  name: Name,
): string {
  const value = environment[name];
  if (value === undefined) throw new EnvironmentError(sentence(name, undefined));
  return value;
}

/** @returns the origins of CORS_ORIGINS, as browsers send them */
export function originsOf(text: string): string[] {
  return text === '' ? [] : text.split(',').map((origin) => origin.trim());
}

function testConstants(variables: Variables): typeof CONSTANTS {
  const given = Object.keys(CONSTANTS).flatMap((name) => (variables[name] ? [[name, Number(variables[name])]] : []));
  return { ...CONSTANTS, ...Object.fromEntries(given) };
}

/**
 * With SO_REUSEPORT on a shared port, the kernel would send buyers' connections to the operators'
 * server.
 */
function refuseSharedPort({ HOST, PORT, ADMIN_HOST, ADMIN_PORT }: Settings): void {
  const isAny = (host: string): boolean => host === '0.0.0.0' || host === '::';
  const meet = HOST === ADMIN_HOST || [HOST, ADMIN_HOST].some((host) => isAny(host) || isIP(host) === 0);
  if (ADMIN_PORT === PORT && meet)
    throw new EnvironmentError(`ADMIN_PORT is ${PORT}, which is PORT. Set another port, or 0 to use PORT for both.`);
}

function isOrigin(text: string): boolean {
  const url = URL.canParse(text) ? new URL(text) : null;
  return url !== null && /^https?:$/.test(url.protocol) && url.origin === text;
}

function isProxyList(text: string): boolean {
  return text.split(',').every((entry) => {
    const [address = '', bits] = entry.trim().split('/');
    if (bits === undefined && ['loopback', 'linklocal', 'uniquelocal'].includes(address)) return true;
    const bitsMax = isIP(address) === 4 ? 32 : isIP(address) === 6 ? 128 : -1;
    return bitsMax > 0 && (bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= bitsMax));
  });
}

/** Converts plain decimal numbers only: "1e3" and "0x10" remain text, which the schema rejects. */
function asDeclared(schema: TSchema, text: string): unknown {
  if (KindGuard.IsNumber(schema) && /^\d{1,9}(\.\d{1,9})?$/.test(text)) return Number(text);
  return KindGuard.IsInteger(schema) && /^-?\d{1,15}$/.test(text) ? Number(text) : text;
}

function sentence(name: SettingName, found: string | undefined): string {
  const { description, type, minimum, maximum }: TSchema = SettingsSchema.properties[name];
  const secret = name === 'ADMIN_TOKEN' || name.endsWith('_SECRET') || name.endsWith('_URL');
  const shown = found === undefined ? 'is not set' : secret ? 'has a value that does not fit' : `is "${found}"`;
  const range = type === 'integer' ? ` A whole number from ${minimum} to ${maximum}.` : '';
  return `${name} ${shown}. Expected: ${description}${range}`;
}

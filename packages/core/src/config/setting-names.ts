/** Names of variables: which belong into .env, and which are probably a misspelt setting. */
import { SettingsSchema } from './settings.ts';

const settings = Object.keys(SettingsSchema.properties);

/** Variables that compose.yaml, Node, the PostgreSQL client and other standards define. */
const OTHERS = new RegExp(
  `^(${[
    'COMPOSE_.+|DOCKER_.+|NODE_.+|UV_.+|PG[A-Z]+|OTEL_.+|SSL_CERT_.+|TZ|LANG|LC_.+|(HTTPS?|NO)_PROXY',
    '.+_(CPUS|MEMORY|VERSION)|REDIS_MAXMEMORY|POSTGRES_CONNECTIONS|(REDIS|POSTGRES|GRAFANA)_PASSWORD',
    '(PROMETHEUS|GRAFANA)_PORT|GATEWAY_ADDRESSES|OPEN_FILES|SECRETS_DIR|SCENARIO',
  ].join('|')})$`,
  'i',
);

/** ADMIN_TOKEN_FILE → ADMIN_TOKEN */
const settingOfFile = (name: string): string => name.replace(/_FILE$/, '');
const isSetting = (name: string): boolean => settings.includes(name) || settings.includes(settingOfFile(name));

export function mayStandInEnvFile(name: string): boolean {
  return isSetting(name) || (OTHERS.test(name) && likelySetting(name) === undefined);
}

/** Below this length, one other letter often makes another name (AUTH, PATH; PORT, PORTS). */
const LONG_NAME = 6;

/** @returns the setting that differs by one letter, by swapped letters, or by case or "_" */
export function likelySetting(name: string): keyof typeof SettingsSchema.properties | undefined {
  if (isSetting(name)) return undefined;
  return settings.find((setting) =>
    [name, settingOfFile(name)].some((given) => isNear(compact(given), compact(setting))),
  ) as keyof typeof SettingsSchema.properties | undefined;
}

const compact = (name: string): string => name.toUpperCase().replaceAll(/[_-]/g, '');

/** Whether both have the same letters, or are equal once at most one is removed from each. */
function isNear(a: string, b: string): boolean {
  if (b.length < LONG_NAME) return sorted(a) === sorted(b);
  const shortened = new Set(withoutOne(b));
  return withoutOne(a).some((text) => shortened.has(text));
}

const sorted = (text: string): string => [...text].sort().join('');

/** The text, and the text without each of its letters. */
const withoutOne = (text: string): string[] => [text, ...[...text].map((_, i) => text.slice(0, i) + text.slice(i + 1))];

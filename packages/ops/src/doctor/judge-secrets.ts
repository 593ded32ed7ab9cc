/** Secrets: that they are there, and that nobody knows them already. Nothing of them is ever part of what is found. */
import type { Environment } from '@flash-sale/core/config/environment.ts';
import { passwordsOf } from '@flash-sale/core/config/redis-address.ts';
import { SECRET_CHARACTERS_MIN } from './bounds.ts';
import { type Finding, ok, warning, wrong } from './checks.ts';

const FRESH_TOKEN = `ADMIN_TOKEN=$(node -p "crypto.randomBytes(32).toString('base64url')")`;

/** Words that examples, images and people take for a password. */
const KNOWN_WORDS =
  /^(admin|changeme|change-me|default|dev|example|flash-?sale|flash_sale|guest|letmein|pass|passw0rd|password|postgres|qwerty|redis|root|secret|test|token|user)+[-_!]?\d{0,8}$/i;

/** Runs of a keyboard or of the alphabet. */
const ROWS = ['01234567890123456789', 'abcdefghijklmnopqrstuvwxyz', 'qwertyuiopasdfghjklzxcvbnm'];

/** @returns why nobody needs to guess it for long, or null */
export function weakness(secret: string): string | null {
  const text = secret.toLowerCase();
  if (KNOWN_WORDS.test(text.replaceAll(/[-_. ]/g, '')) || KNOWN_WORDS.test(text)) return 'a word that everybody tries';
  if (new Set(text).size < SECRET_CHARACTERS_MIN) return `fewer than ${SECRET_CHARACTERS_MIN} different characters`;
  if (ROWS.some((row) => row.includes(text))) return 'a row of the keyboard or the alphabet';
  return null;
}

/** Its length is the environment's matter: one that is too short is refused there, in every mode. */
export function judgeToken({ ADMIN_TOKEN: token }: Environment): Finding {
  if (token === undefined) return wrong('ADMIN_TOKEN', 'not set: the API does not start', FRESH_TOKEN);
  const weak = weakness(token);
  return weak === null ? ok('ADMIN_TOKEN', `${token.length} characters`) : wrong('ADMIN_TOKEN', weak, FRESH_TOKEN);
}

/** A login without a password is not judged here, but by what the server says of it. */
export function judgePasswords({ REDIS_URL, DATABASE_URL }: Environment): Finding {
  const passwords = [
    ...(REDIS_URL === undefined ? [] : passwordsOf(REDIS_URL)).map((password) => ['REDIS_URL', password] as const),
    ...(DATABASE_URL === undefined ? [] : passwordsOf(DATABASE_URL)).map(
      (password) => ['DATABASE_URL', password] as const,
    ),
  ];
  const weak = passwords.flatMap(([name, password]) => {
    const why = weakness(password);
    return why === null ? [] : [`${name}: ${why}`];
  });
  return weak.length === 0
    ? ok('SERVER_PASSWORDS', 'none that is widely known')
    : warning(
        'SERVER_PASSWORDS',
        weak.join('; '),
        'redis-cli -u "$REDIS_URL" CONFIG SET requirepass …, psql "$DATABASE_URL" -c \'\\password\', and the new ones into the addresses',
      );
}

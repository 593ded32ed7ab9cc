/** Whether a secret is easy to guess. */
import { passwordsOf } from '@flash-sale/core/config/redis-address.ts';

const CHARACTERS_MIN = 6;

const KNOWN_WORDS =
  /^(admin|changeme|change-me|default|dev|example|flash-?sale|flash_sale|guest|letmein|pass|passw0rd|password|postgres|qwerty|redis|root|secret|test|token|user)+[-_!]?\d{0,8}$/i;

/** Rows of a keyboard, and the alphabet. */
const ROWS = ['01234567890123456789', 'abcdefghijklmnopqrstuvwxyz', 'qwertyuiopasdfghjklzxcvbnm'];

/** @returns why, as in "the secret is …", or null */
export function weaknessOf(secret: string): string | null {
  const text = secret.toLowerCase();
  if (KNOWN_WORDS.test(text.replaceAll(/[-_. ]/g, '')) || KNOWN_WORDS.test(text)) return 'a well-known word';
  if (new Set(text).size < CHARACTERS_MIN) return `made of fewer than ${CHARACTERS_MIN} different characters`;
  return ROWS.some((row) => row.includes(text)) ? 'a row of the keyboard or the alphabet' : null;
}

/** @returns why one of the passwords in the address is weak, or null */
export function weaknessOfAddress(url: string): string | null {
  return passwordsOf(url).flatMap((password) => weaknessOf(password) ?? [])[0] ?? null;
}

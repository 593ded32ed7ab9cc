/** What a buyer's id may be, in a header or a token. It becomes part of keys and records, which other characters would split. */
import { MAX_BUYER_ID_LENGTH } from '@flash-sale/core/config/limits.ts';

const pattern = new RegExp(`^[\\x21-\\x7e]{1,${MAX_BUYER_ID_LENGTH}}$`);

export function isBuyerId(value: unknown): value is string {
  return typeof value === 'string' && pattern.test(value);
}

/**
 * Valid buyer ids, in a header or a token: no spaces, because Redis keys and fields use them as
 * separators.
 */
import { MAX_BUYER_ID_LENGTH } from '@flash-sale/core/config/limits.ts';

const pattern = new RegExp(`^[\\x21-\\x7e]{1,${MAX_BUYER_ID_LENGTH}}$`);

export function isBuyerId(value: unknown): value is string {
  return typeof value === 'string' && pattern.test(value);
}

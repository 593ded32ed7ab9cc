/**
 * Valid buyer ids, in a header or a token: no spaces, because Redis keys and fields use them as
 * separators.
 */

/** Characters of a buyer's id: a UUID, an e-mail address or the subject of a token. */
const MAX_BUYER_ID_LENGTH = 128;

const pattern = new RegExp(`^[\\x21-\\x7e]{1,${MAX_BUYER_ID_LENGTH}}$`);

export function isBuyerId(value: unknown): value is string {
  return typeof value === 'string' && pattern.test(value);
}

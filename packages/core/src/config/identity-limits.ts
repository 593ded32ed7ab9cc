/** Bounds of verifying tokens, with their units and reasons. In use by the API only, and there by AUTH=jwt. */

/** Characters of a token. Those of large directories, with all groups in them, are some 4,000; half of what headers may be long. */
export const MAX_TOKEN_LENGTH = 8_192;

/** Seconds that the clocks of issuer and API may differ: servers with NTP are within one; more would keep expired tokens alive. */
export const TOKEN_CLOCK_LEEWAY_S = 5;

/**
 * Tokens whose outcome is remembered: 250 bytes each. Buyers of a drop ask several times within minutes, and verifying
 * costs 40 to 130 µs of a processor, beside some 55 of the API's part of an order, and remembering 1 µs.
 */
export const KNOWN_TOKENS_MAX = 50_000;

/** Milliseconds that a outcome is remembered, also of a token that ends in 2100: a drop is over sooner, and no mistake lasts for longer. */
export const KNOWN_TOKEN_MAX_MS = 5 * 60_000;

/** Milliseconds that the host of the keys may take. Buyers wait for it only as long as no keys were ever had. */
export const KEY_SET_TIMEOUT_MS = 3_000;

/** Milliseconds between two looks at the keys, in the background: a key that was taken away is believed for no longer. */
export const KEY_SET_REFRESH_MS = 60_000;

/** Milliseconds between two askings because of a token with an unknown key, or after a failure: made-up keys must not flood the host. */
export const KEY_SET_COOLDOWN_MS = 5_000;

/** Milliseconds that keys are believed while their host cannot be reached: longer than an outage, shorter than a leaked key is of use. */
export const KEY_SET_STALE_MAX_MS = 6 * 3_600_000;

/** Bytes of a key set. One of a dozen keys is some 10 kB. */
export const KEY_SET_BYTES_MAX = 256 * 1024;

/** Bits of an RSA key that signs tokens (RFC 7518, 3.3). */
export const RSA_BITS_MIN = 2_048;

/** Seconds that a browser may remember the answer to a preflight. Chromium believes no more than this. */
export const PREFLIGHT_MAX_AGE_S = 7_200;

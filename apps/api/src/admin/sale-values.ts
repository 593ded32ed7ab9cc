/** Checks of a sale's values that a schema cannot express. */

/** First and last instant: four digits of a year, none before the epoch. ms since 1970. */
const FIRST_INSTANT = 0;
const LAST_INSTANT = Date.parse('9999-12-31T23:59:59.999Z');
/** RFC 3339 with at most milliseconds: what was sent can be shown. */
const INSTANT = /^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,3})0*)?([Zz]|[+-]\d\d:\d\d)$/;

const currencies = new Set(Intl.supportedValuesOf('currency'));

/** Milliseconds since 1970. */
interface Window {
  readonly startsAt: number;
  readonly endsAt: number;
}

/** Values that are possible and probably a mistake; `allow` names those that are meant. */
export const WARNINGS = ['window_over', 'unknown_currency', 'price_decimals', 'price_above_original', 'free'] as const;
export type Warning = (typeof WARNINGS)[number];

/** @returns NaN if the text is no instant that can be shown as it was sent */
function readInstant(text: string): number {
  const [, date, time, fraction = '0', zone] = INSTANT.exec(text) ?? [];
  const instant = Date.parse(`${date}T${time}.${fraction}${zone?.toUpperCase()}`);
  return instant >= FIRST_INSTANT && instant <= LAST_INSTANT ? instant : Number.NaN;
}

/** @returns the window, or what is wrong with it */
export function readWindow(body: { starts_at: string; ends_at: string }): Window | string {
  const [startsAt, endsAt] = [readInstant(body.starts_at), readInstant(body.ends_at)];
  for (const [name, instant] of Object.entries({ starts_at: startsAt, ends_at: endsAt }))
    if (Number.isNaN(instant))
      return `body/${name} must be RFC 3339 with at most milliseconds, of the years 1970 to 9999 in UTC.`;
  return endsAt > startsAt ? { startsAt, endsAt } : 'body/ends_at must be after body/starts_at.';
}

/** Fillers have no ink: some are letters, and two are symbols. */
const VISIBLE = /[[\p{L}\p{N}\p{P}\p{S}]--[\p{Default_Ignorable_Code_Point}\u2800\u{1d159}]]/v;

/** Whether nothing in the text is visible. */
export const isBlank = (text: string): boolean => !VISIBLE.test(text);

/** @param now Redis's clock, ms since 1970 */
export function windowWarnings({ endsAt }: Window, now: number): Partial<Record<Warning, string>> {
  return endsAt <= now ? { window_over: 'body/ends_at is over.' } : {};
}

/** @param prices exact decimal text by field */
export function priceWarnings(
  prices: { original_price: string; flash_sale_price: string },
  currency: string,
): Partial<Record<Warning, string>> {
  const warnings: Partial<Record<Warning, string>> = {};
  if (!currencies.has(currency)) warnings.unknown_currency = `body/currency ${currency} is not in ISO 4217.`;
  else {
    const format = new Intl.NumberFormat('en', { style: 'currency', currency });
    const decimals = format.resolvedOptions().maximumFractionDigits ?? 0;
    const wrong = Object.entries(prices).find(([, price]) => (price.split('.')[1] ?? '').length > decimals);
    if (wrong) warnings.price_decimals = `body/${wrong[0]} has more decimals than ${currency}, which has ${decimals}.`;
  }
  const flashSalePrice = Number(prices.flash_sale_price);
  if (flashSalePrice > Number(prices.original_price))
    warnings.price_above_original = 'body/flash_sale_price is above body/original_price.';
  if (flashSalePrice === 0) warnings.free = 'body/flash_sale_price is 0.';
  return warnings;
}

/** @returns a sentence about the warnings that are not allowed, or null */
export function refusedWarnings(
  warnings: Partial<Record<Warning, string>>,
  allow: readonly Warning[] = [],
): string | null {
  const refused = WARNINGS.filter((warning) => warnings[warning] !== undefined && !allow.includes(warning));
  if (refused.length === 0) return null;
  const sentences = refused.map((warning) => warnings[warning]).join(' ');
  return `${sentences} If it is meant, add "allow": ${JSON.stringify([...new Set([...allow, ...refused])])}.`;
}

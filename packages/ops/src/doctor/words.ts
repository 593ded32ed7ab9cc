/** Numbers as the doctor writes them. */

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** "256 MiB", "1.5 GiB" */
export function bytes(count: number): string {
  const power = Math.min(Math.floor(Math.log2(Math.max(count, 1)) / 10), UNITS.length - 1);
  const amount = count / 1024 ** power;
  return `${Number.isInteger(amount) || amount >= 100 ? Math.round(amount) : amount.toFixed(1)} ${UNITS[power]}`;
}

/** "0.4 ms", "120 ms" */
export function milliseconds(ms: number): string {
  return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

/** Ids of orders. */
import { decodeTime, isValid } from 'ulid';
import { expect, test } from 'vitest';
import { newOrderId, saleIdOf } from './order.ts';

test('an id consists of the id of the sale and a ULID of now', () => {
  const before = Date.now();
  const id = newOrderId('tea-2026');
  expect(saleIdOf(id)).toBe('tea-2026');
  const ulid = id.slice('tea-2026-'.length);
  expect(isValid(ulid)).toBe(true);
  expect(decodeTime(ulid)).toBeGreaterThanOrEqual(before);
  expect(decodeTime(ulid)).toBeLessThanOrEqual(Date.now());
});

test('an id leads to its sale, also to a variant of an event', () => {
  for (const saleId of ['tea', 'a-b_c', 'tea.green-5', `${'e'.repeat(64)}.${'v'.repeat(32)}`])
    expect(saleIdOf(newOrderId(saleId))).toBe(saleId);
  for (const saleId of ['', '.', 'tea.', '.green', 'tea.green.5', '-tea', 'tea:green', '{tea}', 'e'.repeat(65)])
    expect(saleIdOf(newOrderId(saleId))).toBeNull();
});

test('100,000 ids sort by time, are unique, and each random character is evenly distributed', () => {
  const ids = Array.from({ length: 100_000 }, () => newOrderId('tea'));
  expect(new Set(ids).size).toBe(ids.length);
  const times = ids.map((id) => id.slice(0, 'tea-'.length + 10));
  expect(times).toEqual([...times].sort());
  // Each of the 16 random characters is each of the 32 letters, about as often as any other: 3,125
  // times, ± 55.
  for (let place = 'tea-'.length + 10; place < 'tea-'.length + 26; place++) {
    const counts = new Map<string, number>();
    for (const id of ids) counts.set(id[place] as string, (counts.get(id[place] as string) ?? 0) + 1);
    expect(counts.size).toBe(32);
    for (const count of counts.values()) expect(Math.abs(count - 3_125)).toBeLessThan(450);
  }
});

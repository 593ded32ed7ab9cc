/**
 * PostgreSQL is killed at each step of its transactions: what was committed stays, the rest is
 * repeated, and no attempt is used up.
 */
import { beforeAll, expect, test } from 'vitest';
import { serverCrashPoints } from '../crash/failpoints-table.ts';
import { type KilledServerReport, killServerAt, pointName } from '../crash/killed-server.ts';

const points = serverCrashPoints('postgres');

let report: KilledServerReport;
beforeAll(async () => {
  report = await killServerAt('postgres', points);
}, 1_800_000);

test.each(points.map(pointName))('PostgreSQL killed: %s', (point) => {
  expect(report.outcomes.get(point)).toBeNull();
});

test('[I1] [I11] the audit found nothing wrong, meanwhile and in the end', () => {
  expect(report.breaks).toEqual([]);
});

test('[I3] [trap 12] every order that was accepted is confirmed within 30 s', () => {
  expect(report.accepted).toBeGreaterThan(300);
  expect(report.unconfirmed).toEqual([]);
});

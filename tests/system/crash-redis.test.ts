/**
 * Redis with `appendfsync always` is killed at each step of an order and of a rebuild: nothing that
 * was answered is lost.
 */
import { beforeAll, expect, test } from 'vitest';
import { serverCrashPoints } from '../crash/failpoints-table.ts';
import { type KilledServerReport, killServerAt, pointName } from '../crash/killed-server.ts';

const points = serverCrashPoints('redis');

let report: KilledServerReport;
beforeAll(async () => {
  report = await killServerAt('redis', points);
}, 1_800_000);

test.each(points.map(pointName))('Redis killed: %s', (point) => {
  expect(report.outcomes.get(point)).toBeNull();
});

test('[I1] [I11] the audit found nothing wrong, meanwhile and in the end', () => {
  expect(report.breaks).toEqual([]);
});

test('[I3] every order that was accepted is confirmed within 30 s', () => {
  expect(report.accepted).toBeGreaterThan(300);
  expect(report.unconfirmed).toEqual([]);
});

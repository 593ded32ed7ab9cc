/** Logs after an incident: of several machines, in folders, rotated, compressed, still written. */
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { newOrderId } from '@flash-sale/core/domain/order.ts';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { findLogs, LOST_LOOKUP_CHUNK, type LogRead, readAcceptedLogs } from './accepted-log-files.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'flash-sale-logs-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const at = (...names: string[]): string => join(folder, ...names);
let clock = 1_800_000_000_000;

/** Lines of so many orders, a millisecond apart. */
function lines(orders = 1): string {
  const line = (): string => {
    clock += 1;
    const fields = { order_id: newOrderId('tea'), buyer_id: 'ann', quantity: 1, reserved_at: clock, reqId: 'r' };
    return `${JSON.stringify({ ...fields, msg: 'order accepted' })}\n`;
  };
  return Array.from({ length: orders }, line).join('');
}

async function read(...given: string[]) {
  const files: LogRead[] = [];
  const gone: string[] = [];
  let orders = 0;
  const receivers = { onRead: (one: LogRead) => void files.push(one), onGone: (one: string) => void gone.push(one) };
  for await (const chunk of readAcceptedLogs(given, receivers)) orders += chunk.length;
  return { files, gone, orders, names: files.map(({ file }) => file.slice(folder.length + 1)) };
}

test('a folder: logs of API processes on any machine, in subfolders, compressed or not', async () => {
  mkdirSync(at('machine-b', 'older'), { recursive: true });
  symlinkSync(folder, at('machine-b', 'back'));
  writeFileSync(at('machineA-api-1.log'), lines(2));
  writeFileSync(at('machineA-api-1.log.000001.gz'), gzipSync(lines(3)));
  writeFileSync(at('machine-b', 'flash-sale-api-7d9f_0.log'), lines(4));
  writeFileSync(at('machine-b', 'older', 'api.log-20261124.zst'), zstdCompressSync(lines(5)));
  writeFileSync(at('redis.log'), 'ready\n');
  const { orders, files } = await read(folder);
  expect(files.map(({ accepted }) => accepted).sort()).toEqual([2, 3, 4, 5]);
  expect(orders).toBe(14);
  for (const { accepted, firstAt, lastAt } of files)
    expect((lastAt as number) - (firstAt as number)).toBe(accepted - 1);
  expect(findLogs(folder).skipped).toEqual([]);
});

test('what is not read in a folder is named, with the reason; named by itself it is read', async () => {
  writeFileSync(at('api-1.log'), lines());
  writeFileSync(at('orders.txt'), lines(2));
  symlinkSync(at('nowhere'), at('api-2.log'));
  expect(findLogs(folder).skipped).toEqual([
    { file: at('api-2.log'), why: expect.stringContaining('dead link') },
    { file: at('orders.txt'), why: expect.stringContaining('name it to have it read') },
  ]);
  expect((await read(folder, at('orders.txt'))).orders).toBe(3);
});

test('a log that is named is read with its rotated files, compressed or not, and no other’s', async () => {
  writeFileSync(at('api-2.log'), lines());
  writeFileSync(at('api-2.log.000001.gz'), gzipSync(lines(2)));
  writeFileSync(at('api-2.log.000002'), lines(3));
  writeFileSync(at('api-22.log'), lines(50));
  expect((await read(at('api-2.log'))).orders).toBe(6);
  // By its first bytes, whatever it is called.
  renameSync(at('api-2.log.000001.gz'), at('api-2.log.000001'));
  expect((await read(at('api-2.log'))).orders).toBe(6);
});

test('a file in an unknown compression, or cut off, is refused by name, never taken for a log without orders', async () => {
  writeFileSync(at('api-1.log.xz'), Buffer.from('fd377a585a000004e6d6b446', 'hex'));
  await expect(read(folder)).rejects.toThrow(`${at('api-1.log.xz')} is not text`);
  rmSync(at('api-1.log.xz'));
  const packed = gzipSync(lines(200));
  writeFileSync(at('api-1.log.gz'), packed.subarray(0, packed.length / 2));
  await expect(read(folder)).rejects.toThrow(`${at('api-1.log.gz')} cannot be read to its end`);
});

test('a log that is rotated meanwhile is read under its new name; one that is removed is reported', async () => {
  writeFileSync(at('api-1.log'), lines(LOST_LOOKUP_CHUNK));
  writeFileSync(at('api-2.log'), lines(2));
  writeFileSync(at('api-3.log'), lines(3));
  const gone: string[] = [];
  const reading = readAcceptedLogs([folder], { onGone: (file) => void gone.push(file) });
  expect((await reading.next()).value).toHaveLength(LOST_LOOKUP_CHUNK);
  renameSync(at('api-2.log'), at('api-2.log.000001'));
  rmSync(at('api-3.log'));
  let orders = 0;
  for await (const chunk of reading) orders += chunk.length;
  expect(orders).toBe(2);
  expect(gone).toEqual([at('api-2.log'), at('api-3.log')]);
});

test('a named log that is removed while another one is read is no error', async () => {
  writeFileSync(at('api-1.log'), lines(LOST_LOOKUP_CHUNK));
  writeFileSync(at('api-2.log'), lines(2));
  const gone: string[] = [];
  const reading = readAcceptedLogs([at('api-1.log'), at('api-2.log')], { onGone: (file) => void gone.push(file) });
  await reading.next();
  rmSync(at('api-2.log'));
  expect(await reading.next()).toEqual({ done: true, value: undefined });
  expect(gone).toEqual([at('api-2.log')]);
});

test('without a log of an API process: a sentence', () => {
  writeFileSync(at('worker-1.log'), '');
  expect(() => findLogs(folder)).toThrow(/no log of an API process .* in /);
  expect(() => findLogs(at('none.log'))).toThrow(`There is no log ${at('none.log')}.`);
  expect(() => findLogs(at('none', 'api-*.log'))).toThrow('There is no log');
});

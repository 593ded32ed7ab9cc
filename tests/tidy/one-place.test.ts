/** What is spelled in exactly one place, and rules that every file follows. */
import { expect, test } from 'vitest';
import { sourceFiles, withoutComments } from './source-files.ts';

const code = sourceFiles('.ts', '.mjs', '.lua');
const product = code.filter((file) => /^(apps|packages)\/.*\.ts$/.test(file.path) && !/\.test\.ts$/.test(file.path));

/** Paths of files whose code (comments aside) has the pattern, but for those that may have it. */
function offenders(pattern: RegExp, allowed: RegExp, files = product): string[] {
  return files
    .filter((file) => !allowed.test(file.path) && pattern.test(withoutComments(file.text)))
    .map((file) => file.path);
}

test('process.env is read by mains, and by the launcher, which is one', () => {
  expect(offenders(/process\.env\b/, /^apps\/\w+\/src\/main\.ts$|^packages\/launcher\//)).toEqual([]);
});

test('Redis keys are spelled in keys.ts', () => {
  expect(
    offenders(
      /[`'"][^`'"\n]*:\{|:(inventory|reservations|claims|buyers|buckets|redeliveries|stock-changes|window)\b[:`'"]/,
      /inventory\/keys\.ts$/,
    ),
  ).toEqual([]);
});

test('SQL stands in core/ledger; the audit, the backup and the doctor have their own', () => {
  expect(
    offenders(
      /\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|TRUNCATE|CREATE TABLE)\b/,
      /core\/src\/ledger\/|ops\/src\/(audit|backup)\/|doctor\/postgres\.ts$|launcher\/src\/private-postgres\.ts$/,
    ),
  ).toEqual([]);
});

test('[trap 33] nothing asks Redis for all keys, or for a whole hash, list or set of a sale', () => {
  const whole =
    /\b(redis|client|connection)\.(keys|hgetall|hkeys|hvals|smembers|lrange|zrange|scanStream)\(|call\('(KEYS|SCAN|HGETALL|HKEYS|HVALS|SMEMBERS|LRANGE|ZRANGE)'/;
  // The audit reads everything: a person runs it. The reaper counts the jobs before it reads them.
  expect(offenders(whole, /ops\/src\/audit\/|queue\/order-queue\.ts$/)).toEqual([]);
  // The global rate limiter's window has at most 101 slots.
  const scripts = sourceFiles('.lua').filter(({ path }) => !path.endsWith('/take-permits.lua'));
  for (const { path, text } of scripts) expect(whole.test(text), path).toBe(false);
});

test('every write is a step at which a crash is tried: a script, a named transaction, or a call of the queue', () => {
  // What is not about orders or stock: the copy of the ledger's id, the heartbeat, the rebuilder's
  // lease, the scratch spaces of warm-ups.
  expect(
    offenders(
      /\b(redis|atInventory|client)\.(set|hset|hdel|hincrby|del|unlink|zadd|zrem|incr|pexpire|expire|eval|pipeline)\(/,
      /inventory\/(heartbeat|inventory-rebuild|ledger-claim)\.ts$|warm-up\/scratch-space\.ts$|ops\/src\/audit\//,
    ),
  ).toEqual([]);
  // A full Redis refuses even a MULTI that reads.
  expect(offenders(/\.multi\(/, /ops\/src\/audit\//)).toEqual([]);
  expect(offenders(/\bpool\.query\([^)]*\b(INSERT|UPDATE|DELETE)\b/s, /^$/)).toEqual([]);
  expect(offenders(/\.addBulk\(|\bqueue\.add\('/, /queue\/order-queue\.ts$/)).toEqual([]);
});

test('statuses of refusals stand in problems.ts; only health says 503 by itself', () => {
  const api = product.filter((file) => file.path.startsWith('apps/api/'));
  expect(
    offenders(
      /\bcode\([^)]*\b[45]\d\d\b|\bstatus(Code)?: [45]\d\d\b/,
      /plugins\/problems\.ts$|health\/health-routes\.ts$/,
      api,
    ),
  ).toEqual([]);
});

test('no folder or file is named after nothing', () => {
  const nameless = code.filter((file) => /(^|\/)(utils?|helpers?|common|services?|misc|shared)(\/|\.)/.test(file.path));
  expect(nameless.map((file) => file.path)).toEqual([]);
});

test('files stay under 320 lines', () => {
  const long = code.filter((file) => file.text.split('\n').length > 320);
  expect(long.map((file) => `${file.path}: ${file.text.split('\n').length}`)).toEqual([]);
});

test('comments are at most 100 columns wide', () => {
  const wide = sourceFiles('.ts', '.mjs', '.lua', '.sql').flatMap(({ path, text }) =>
    text
      .split('\n')
      .flatMap((line, at) =>
        /^\s*(\/?\*|\/\/(?! biome-ignore)|--)/.test(line) && line.length > 100 ? [`${path}:${at + 1}`] : [],
      ),
  );
  expect(wide).toEqual([]);
});

test('each file begins by saying what it is', () => {
  const silent = product.filter(
    (file) => !/^(#!.*\n)?(\/\*\*|\/\/|import )/.test(file.text) || !/^\/\*\*/m.test(file.text),
  );
  expect(silent.map((file) => file.path)).toEqual([]);
});

test('nothing is left open, skipped or singled out', () => {
  const marks = new RegExp(['TO', 'DO|FIX', 'ME|XX', 'X\\b'].join(''));
  const found = code.filter(
    (file) => marks.test(file.text) || /\b(test|it|describe)\.(skip|only|todo)\b/.test(withoutComments(file.text)),
  );
  expect(found.map((file) => file.path).filter((path) => !path.startsWith('tests/tidy/'))).toEqual([]);
});

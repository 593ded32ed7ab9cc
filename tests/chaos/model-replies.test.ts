/** The second half of the auditor's control: what it must say of keys, of operators' changes, and of every reply as such. */
import { describe, expect, test } from 'vitest';
import { accepted, SALE, ToldHistory, unanswered } from './told-history.ts';

describe('keys', () => {
  test('one key, two orders', () => {
    const told = new ToldHistory();
    const a = told.order('ann', [10, 11], accepted('A', 9), { key: 'k' });
    const b = told.order('ann', [12, 13], accepted('B', 8), { key: 'k' });
    expect(told.end([told.row(a, 'A'), told.row(b, 'B')])).toEqual([
      'lie: one key has two orders: tea-A and tea-B',
      'lie: 2 orders under one key: tea ann k',
    ]);
  });

  test('422 where no other quantity was sent; a refusal where the key had its order; a repetition that does not say so', () => {
    const told = new ToldHistory();
    told.order('ann', [10, 11], 'IDEMPOTENCY_KEY_REUSED', { key: 'k' });
    told.order('bob', [10, 11], accepted('B', 9), { key: 'k' });
    told.order('bob', [12, 13], 'SALE_PAUSED', { key: 'k' });
    told.order('bob', [14, 15], accepted('B', 9), { key: 'k' });
    expect(told.sentences()).toEqual([
      'lie: IDEMPOTENCY_KEY_REUSED, and no other quantity was ever sent with this key',
      'lie: SALE_PAUSED, and the key had its order',
      'lie: the same order was accepted twice, and neither reply says that it repeats',
    ]);
  });

  test('one order for two buyers', () => {
    const told = new ToldHistory();
    told.order('ann', [10, 11], accepted('A', 9));
    told.order('bob', [12, 13], accepted('A', 9));
    expect(told.sentences()).toContain('lie: order tea-A was given to ann and to bob');
  });
});

describe('what operators said', () => {
  test('SALE_PAUSED, SALE_ENDED and SALE_NOT_OPEN that nobody had asked for', () => {
    const told = new ToldHistory();
    for (const code of ['SALE_PAUSED', 'SALE_ENDED', 'SALE_NOT_OPEN']) told.order('ann', [1_000, 1_001], code);
    expect(told.end([])).toEqual([
      'lie: tea: SALE_PAUSED, and nobody had paused it',
      'lie: tea: SALE_ENDED, and no window of it was over',
      'lie: tea: SALE_NOT_OPEN, and every window of it had begun',
    ]);
  });

  test('accepted while it was paused all the time, or was over; while a change is on its way, both words are true', () => {
    const told = new ToldHistory();
    const body = { allotment: 10, available: 10, reserved: 0, sold: 0 };
    told.tell({ kind: 'pause', saleId: SALE }, [10, 11], { body });
    const a = told.order('ann', [12, 13], accepted('A', 9));
    const resume = told.ask({ kind: 'resume', saleId: SALE }, 14);
    const b = told.order('ann', [15, 16], accepted('B', 8));
    told.order('ann', [15, 16], 'SALE_PAUSED');
    resume(20, { body: { ...body, available: 8, sold: 2 } });
    told.tell({ kind: 'move_window', saleId: SALE, startsAt: -20, endsAt: -10 }, [500, 501], {
      body: { ...body, available: 8, sold: 2 },
    });
    const c = told.order('ann', [600, 601], accepted('C', 7));
    expect(told.end([told.row(a, 'A'), told.row(b, 'B'), told.row(c, 'C')])).toEqual([
      'lie: tea: accepted, and it was paused all the time',
      'lie: tea: accepted, and no window of it was open',
    ]);
  });

  test('SALE_NOT_FOUND of a sale that was made; SALE_RECOVERING where Redis was never ended', () => {
    const told = new ToldHistory();
    told.auditor.weather.begin('redis', 'stop', 0)(100);
    told.order('ann', [10, 11], 'SALE_NOT_FOUND');
    told.order('ann', [10, 11], 'SALE_RECOVERING');
    expect(told.end([])).toEqual([
      'lie: tea: SALE_NOT_FOUND, and it was made',
      'lie: tea: SALE_RECOVERING, and Redis was never ended since it was made',
    ]);
  });
});

describe('every reply', () => {
  test('500 INTERNAL, and a code that nobody knows', () => {
    const told = new ToldHistory();
    told.auditor.weather.begin('redis', 'kill', 0)(100);
    told.order('ann', [10, 11], 'INTERNAL');
    told.order('ann', [10, 11], 'WHATEVER');
    expect(told.sentences()).toEqual(['lie: status 500 with code INTERNAL', 'lie: status 400 with code WHATEVER']);
  });

  test('503 is believed while what it speaks of is ailing and for a while after, and never otherwise', () => {
    const told = new ToldHistory();
    told.auditor.weather.begin('redis', 'kill', 10_000)(12_000);
    for (const at of [9_000, 11_000, 16_000, 18_000]) told.order('ann', [at, at + 1], 'INVENTORY_UNAVAILABLE');
    told.order('ann', [11_000, 11_001], 'LEDGER_UNAVAILABLE');
    expect(told.sentences()).toEqual([
      'lie: INVENTORY_UNAVAILABLE, and nothing that it speaks of was ailing',
      'lie: INVENTORY_UNAVAILABLE, and nothing that it speaks of was ailing',
      'lie: LEDGER_UNAVAILABLE, and nothing that it speaks of was ailing',
    ]);
  });

  test('SALE_RECOVERING is believed for ten seconds after Redis, PostgreSQL and one worker are in order, whatever the others do', () => {
    const told = new ToldHistory();
    const { weather } = told.auditor;
    weather.begin('redis', 'kill', 10_000)(12_000);
    weather.begin('worker-1', 'stop', 11_000)(14_000);
    weather.begin('worker-2>redis', 'hold', 11_000)(60_000);
    weather.begin('api-1', 'kill', 20_000)(26_000);
    for (const at of [11_500, 23_500, 25_000]) told.order('ann', [at, at + 1], 'SALE_RECOVERING');
    expect(told.sentences()).toEqual(['lie: SALE_RECOVERING, and nothing that it speaks of was ailing']);
  });

  test('503 without Retry-After, or that is no problem document', () => {
    const told = new ToldHistory();
    told.auditor.weather.begin('redis', 'kill', 0)(100);
    const body = { code: 'INVENTORY_UNAVAILABLE' };
    told.order('ann', [10, 11], { status: 503, body, retryAfter: null });
    told.order('ann', [10, 11], { status: 503, body, contentType: 'text/html' });
    expect(told.sentences()).toEqual([
      'lie: INVENTORY_UNAVAILABLE without Retry-After',
      'lie: INVENTORY_UNAVAILABLE as text/html',
    ]);
  });

  test('a late reply, but not where the process itself stood still', () => {
    const told = new ToldHistory();
    told.auditor.weather.begin('api-1', 'stop', 20_000)(28_000);
    told.order('ann', [10_000, 15_000], 'SOLD_OUT');
    told.order('ann', [20_000, 28_100], 'SOLD_OUT');
    expect(told.sentences()).toEqual(['lie: late: SOLD_OUT after 5000 ms, and 3500 ms are allowed']);
  });

  test('a connection that broke though nobody was killed', () => {
    const told = new ToldHistory();
    told.order('ann', [10, 11], unanswered);
    expect(told.sentences()).toEqual(['lie: broken, and api-1 was not killed']);
  });

  test('a process that ended by itself', () => {
    const told = new ToldHistory();
    told.auditor.fell('worker-1', 'exit code 1', true, 10);
    expect(told.sentences()).toEqual(['fell: worker-1 ended by itself: exit code 1']);
  });
});

/** Histories made by hand: keys, operators' changes, and every reply by itself. */
import { describe, expect } from 'vitest';
import { accepted, audited, SALE, unanswered } from './made-history.ts';

describe('keys', () => {
  audited('one key, two orders', ({ history }) => {
    const a = history.order('ann', [10, 11], accepted('A', 9), { key: 'k' });
    const b = history.order('ann', [12, 13], accepted('B', 8), { key: 'k' });
    expect(history.end([history.row(a, 'A'), history.row(b, 'B')])).toEqual([
      'untrue: one key has two orders: tea-A and tea-B',
      'untrue: 2 orders under one key: tea ann k',
    ]);
  });

  audited(
    '422 without another quantity; a refusal of a key that has its order; a repetition that does not say so',
    ({ history }) => {
      history.order('ann', [10, 11], 'IDEMPOTENCY_KEY_REUSED', { key: 'k' });
      history.order('bob', [10, 11], accepted('B', 9), { key: 'k' });
      history.order('bob', [12, 13], 'SALE_PAUSED', { key: 'k' });
      history.order('bob', [14, 15], accepted('B', 9), { key: 'k' });
      expect(history.sentences()).toEqual([
        'untrue: IDEMPOTENCY_KEY_REUSED, and no other quantity was ever sent with this key',
        'untrue: SALE_PAUSED, and the key had its order',
        'untrue: the same order was accepted twice, and neither reply says that it repeats',
      ]);
    },
  );

  audited('a replay that shows another status than the order had, or that says so in one place only', ({ history }) => {
    history.order('ann', [10, 11], accepted('A', 9), { key: 'k' });
    history.read('A', 'ann', [20, 21], 'confirmed');
    const body = { order_id: `${SALE}-A`, product_id: SALE, quantity: 1, remaining: 9, replayed: true };
    history.order('ann', [30, 31], { body: { ...body, status: 'confirmed' }, replayed: true }, { key: 'k' });
    history.order('ann', [40, 41], { body: { ...body, status: 'pending' }, replayed: true }, { key: 'k' });
    history.order('ann', [50, 51], { body: { ...body, status: 'accepted' } }, { key: 'k' });
    expect(history.sentences()).toEqual([
      'untrue: pending after confirmed: a status moved backwards',
      'untrue: header and body differ in whether it repeats',
      'untrue: the same order was accepted twice, and neither reply says that it repeats',
    ]);
  });

  audited('one order for two buyers', ({ history }) => {
    history.order('ann', [10, 11], accepted('A', 9));
    history.order('bob', [12, 13], accepted('A', 9));
    expect(history.sentences()).toContain('untrue: order tea-A was given to ann and to bob');
  });
});

describe('what operators said', () => {
  audited('SALE_PAUSED, SALE_ENDED and SALE_NOT_OPEN without an operator’s change', ({ history }) => {
    for (const code of ['SALE_PAUSED', 'SALE_ENDED', 'SALE_NOT_OPEN']) history.order('ann', [1_000, 1_001], code);
    expect(history.end([])).toEqual([
      'untrue: tea: SALE_PAUSED, and nobody had paused it',
      'untrue: tea: SALE_ENDED, and no window of it was over',
      'untrue: tea: SALE_NOT_OPEN, and every window of it had begun',
    ]);
  });

  audited(
    'accepted while it was paused all the time, or over; during a change both replies are true',
    ({ history }) => {
      const body = { allotment: 10, available: 10, reserved: 0, sold: 0 };
      history.tell({ kind: 'pause', saleId: SALE }, [10, 11], { body });
      const a = history.order('ann', [12, 13], accepted('A', 9));
      const resume = history.ask({ kind: 'resume', saleId: SALE }, 14);
      const b = history.order('ann', [15, 16], accepted('B', 8));
      history.order('ann', [15, 16], 'SALE_PAUSED');
      resume(20, { body: { ...body, available: 8, sold: 2 } });
      history.tell({ kind: 'move_window', saleId: SALE, startsAt: -20, endsAt: -10 }, [500, 501], {
        body: { ...body, available: 8, sold: 2 },
      });
      const c = history.order('ann', [600, 601], accepted('C', 7));
      expect(history.end([history.row(a, 'A'), history.row(b, 'B'), history.row(c, 'C')])).toEqual([
        'untrue: tea: accepted, and it was paused all the time',
        'untrue: tea: accepted, and no window of it was open',
      ]);
    },
  );

  audited('SALE_NOT_FOUND of a sale that was created; SALE_RECOVERING although Redis never ended', ({ history }) => {
    history.auditor.faults.begin('redis', 'stop', 0)(100);
    history.order('ann', [10, 11], 'SALE_NOT_FOUND');
    history.order('ann', [10, 11], 'SALE_RECOVERING');
    expect(history.end([])).toEqual([
      'untrue: tea: SALE_NOT_FOUND, and it was made',
      'untrue: tea: SALE_RECOVERING, and Redis was never ended since it was made',
    ]);
  });
});

describe('every reply', () => {
  audited('500 INTERNAL, and an unknown code', ({ history }) => {
    history.auditor.faults.begin('redis', 'kill', 0)(100);
    history.order('ann', [10, 11], 'INTERNAL');
    history.order('ann', [10, 11], 'WHATEVER');
    expect(history.sentences()).toEqual([
      'untrue: status 500 with code INTERNAL',
      'untrue: status 400 with code WHATEVER',
    ]);
  });

  audited('503 is right while what it names is degraded and for a while after, and never otherwise', ({ history }) => {
    history.auditor.faults.begin('redis', 'kill', 10_000)(12_000);
    for (const at of [9_000, 11_000, 16_000, 18_000]) history.order('ann', [at, at + 1], 'INVENTORY_UNAVAILABLE');
    history.order('ann', [11_000, 11_001], 'LEDGER_UNAVAILABLE');
    expect(history.sentences()).toEqual([
      'untrue: INVENTORY_UNAVAILABLE, and nothing that it names was degraded',
      'untrue: INVENTORY_UNAVAILABLE, and nothing that it names was degraded',
      'untrue: LEDGER_UNAVAILABLE, and nothing that it names was degraded',
    ]);
  });

  audited(
    'SALE_RECOVERING is right for ten seconds after Redis, PostgreSQL and one worker work, whatever others do',
    ({ history }) => {
      const { faults } = history.auditor;
      faults.begin('redis', 'kill', 10_000)(12_000);
      faults.begin('worker-1', 'stop', 11_000)(14_000);
      faults.begin('worker-2>redis', 'hold', 11_000)(60_000);
      faults.begin('api-1', 'kill', 20_000)(26_000);
      for (const at of [11_500, 23_500, 25_000]) history.order('ann', [at, at + 1], 'SALE_RECOVERING');
      expect(history.sentences()).toEqual(['untrue: SALE_RECOVERING, and nothing that it names was degraded']);
    },
  );

  audited('a refusal whose Retry-After does not fit `retryable`, or that is no problem document', ({ history }) => {
    history.auditor.faults.begin('redis', 'kill', 0)(100);
    const body = { code: 'INVENTORY_UNAVAILABLE' };
    history.order('ann', [10, 11], { status: 503, body, retryAfter: null });
    history.order('ann', [10, 11], { status: 400, body: { code: 'BUYER_LIMIT', retryable: false } });
    history.order('ann', [10, 11], { status: 503, body, contentType: 'text/html' });
    expect(history.sentences()).toEqual([
      'untrue: INVENTORY_UNAVAILABLE with retryable true and Retry-After null',
      'untrue: BUYER_LIMIT with retryable false and Retry-After 1',
      'untrue: INVENTORY_UNAVAILABLE as text/html',
    ]);
  });

  audited('a late reply, unless the process itself was frozen', ({ history }) => {
    history.auditor.faults.begin('api-1', 'stop', 20_000)(28_000);
    history.order('ann', [10_000, 15_000], 'SOLD_OUT');
    history.order('ann', [20_000, 28_100], 'SOLD_OUT');
    expect(history.sentences()).toEqual(['untrue: late: SOLD_OUT after 5000 ms, and 3500 ms are allowed']);
  });

  audited('a broken connection without a kill', ({ history }) => {
    history.order('ann', [10, 11], unanswered);
    expect(history.sentences()).toEqual(['untrue: broken, and api-1 was not killed']);
  });

  audited('a process that ended by itself', ({ history }) => {
    history.auditor.exited('worker-1', 'exit code 1', true, 10);
    expect(history.sentences()).toEqual(['exit: worker-1 ended by itself: exit code 1']);
  });
});

/** Checks replies about a sale: its page, and those to operators. */
import { type Call, type Question, type QuestionOf, type Reply, wordOf } from './calls.ts';
import type { Rules } from './check-reply.ts';
import type { FaultLog } from './fault-log.ts';
import type { SaleRecord } from './sale-record.ts';

/** Reports a violation if it does not hold. */
export type Must = (holds: boolean, sentence: string, orderId?: string | null) => void;

export type OperatorsQuestion = Exclude<Question, { kind: 'order' | 'read_order' | 'read_sale' }>;

export function checkPage(
  call: Call,
  reply: Reply,
  record: SaleRecord,
  faults: FaultLog,
  rules: Rules,
  must: Must,
): void {
  const { asked, n, sentAt } = call;
  const word = wordOf(reply);
  const empty = { n, sentAt, endedAt: reply.endedAt, buyerId: '', quantity: 0, number: Number.NaN };
  if (word === 'SALE_NOT_FOUND') record.statements.push({ ...empty, word });
  if (word !== 'ok') return;
  const product = reply.body.product as Record<string, unknown> | undefined;
  must('saleId' in asked && product?.id === asked.saleId, 'another sale is shown than was asked for');
  if (typeof product?.remaining !== 'number') return;
  must(product.remaining >= 0, `${product.remaining} remaining`);
  // At most a second old, and older by the delay of a degraded dependency.
  const degraded = faults.excuses('page', call.api, false, sentAt - 1_000, reply.endedAt);
  const stoodStill = faults.stoodStill(call.api, sentAt - 15_000, reply.endedAt);
  const age = 1_000 + (degraded ? rules.requestTimeoutMs + rules.slackMs + stoodStill : 0);
  record.statements.push({ ...empty, word: 'page', sentAt: sentAt - age, number: product.remaining });
}

/** @param endSetting called with when a setting was in force at the latest; null: unknown */
export function checkOperators(
  asked: OperatorsQuestion,
  call: Call,
  reply: Reply,
  record: SaleRecord,
  must: Must,
  endSetting: ((endedAt: number | null) => void) | undefined,
): void {
  const { n, sentAt } = call;
  const word = wordOf(reply);
  const { body, endedAt } = reply;
  const ok = word === 'ok';
  endSetting?.(ok ? endedAt : null);
  const said = { n, word, sentAt, endedAt, buyerId: '', quantity: 0, number: Number(body.available ?? Number.NaN) };
  if (word === 'SALE_NOT_FOUND') record.statements.push(said);
  if (asked.kind === 'make_sale') {
    if (word === 'SALE_EXISTS') must(record.madeFrom < sentAt, 'SALE_EXISTS at the first asking');
    // A sale that exists may not have its inventory yet.
    if (ok) record.madeUntil = Math.min(record.madeUntil, endedAt);
  }
  if (asked.kind === 'change_stock') checkChange(asked, call, reply, record, must);
  if (!ok) return;
  const numbers = ['allotment', 'available', 'reserved', 'sold'].map((name) => Number(body[name]));
  const [allotment = 0, available = 0, reserved = 0, sold = 0] = numbers;
  must(
    allotment === available + reserved + sold && Math.min(...numbers) >= 0,
    `${available} available + ${reserved} reserved + ${sold} sold, and the allotment is ${allotment}`,
  );
  const ledger = body.ledger as { allotment: number; sold: number } | undefined;
  must((ledger?.sold ?? 0) <= (ledger?.allotment ?? 0), `the ledger sold ${ledger?.sold} of ${ledger?.allotment}`);
  record.statements.push({ ...said, word: 'numbers', allotment });
}

function checkChange(
  asked: QuestionOf<'change_stock'>,
  { n, sentAt }: Call,
  reply: Reply,
  record: SaleRecord,
  must: Must,
): void {
  const word = wordOf(reply);
  const change = record.changes.get(asked.changeId);
  if (!change) return;
  const told = word === 'ok' ? 'applied' : word === 'UNITS_PROMISED' ? 'refused' : null;
  if (told === null) {
    change.open = true;
    return;
  }
  must(change.told === null || change.told === told, `change ${change.id} was ${change.told}, and now it is ${told}`);
  change.told ??= told;
  if (told === 'applied') {
    change.until = Math.min(change.until, reply.endedAt);
    return;
  }
  must(asked.delta < 0, 'UNITS_PROMISED for units that are added');
  // A repeated change stays refused, whatever is available by then.
  if (change.from !== sentAt) return;
  const number = Number(reply.body.available ?? Number.NaN);
  record.statements.push({ n, word, sentAt, endedAt: reply.endedAt, buyerId: '', quantity: asked.delta, number });
}

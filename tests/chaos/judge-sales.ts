/** Judges what is said of a sale beside orders: its page, and what operators are told. */
import { type Call, type Question, type QuestionOf, type Reply, wordOf } from './history.ts';
import type { Rules } from './reply-rules.ts';
import type { SaleBook } from './sale-book.ts';
import type { Weather } from './weather.ts';

/** Notes a lie where it does not hold. */
export type Must = (holds: boolean, sentence: string, orderId?: string | null) => void;

export type OperatorsQuestion = Exclude<Question, { kind: 'order' | 'read_order' | 'read_sale' }>;

export function judgePage(
  call: Call<QuestionOf<'read_sale'>>,
  reply: Reply,
  book: SaleBook,
  weather: Weather,
  rules: Rules,
  must: Must,
): void {
  const { asked, n, sentAt } = call;
  const word = wordOf(reply);
  const empty = { n, sentAt, endedAt: reply.endedAt, buyerId: '', quantity: 0, number: Number.NaN };
  if (word === 'SALE_NOT_FOUND') book.words.push({ ...empty, word });
  if (word !== 'ok') return;
  const product = reply.body.product as Record<string, unknown> | undefined;
  must(product?.id === asked.saleId, 'another sale is shown than was asked for');
  if (typeof product?.remaining !== 'number') return;
  must(product.remaining >= 0, `${product.remaining} remaining`);
  // "At most a second old", and while a part is ailing as much older as its answer was under way.
  const ailing = weather.excuses('page', call.api, false, sentAt - 1_000, reply.endedAt);
  const stoodStill = weather.stoodStill(call.api, sentAt - 15_000, reply.endedAt);
  const age = 1_000 + (ailing ? rules.requestTimeoutMs + rules.slackMs + stoodStill : 0);
  book.words.push({ ...empty, word: 'page', sentAt: sentAt - age, number: product.remaining });
}

/** @param endSetting to be told when a pause or a window was in force at the latest; null: nobody said */
export function judgeOperators(
  call: Call<OperatorsQuestion>,
  reply: Reply,
  book: SaleBook,
  must: Must,
  endSetting: ((endedAt: number | null) => void) | undefined,
): void {
  const { asked, n, sentAt } = call;
  const word = wordOf(reply);
  const { body, endedAt } = reply;
  const ok = word === 'ok';
  endSetting?.(ok ? endedAt : null);
  const said = { n, word, sentAt, endedAt, buyerId: '', quantity: 0, number: Number(body.available ?? Number.NaN) };
  if (word === 'SALE_NOT_FOUND') book.words.push(said);
  if (asked.kind === 'make_sale') {
    if (word === 'SALE_EXISTS') must(book.madeFrom < sentAt, 'SALE_EXISTS at the first asking');
    // Where it exists its inventory may still be on its way.
    if (ok) book.madeUntil = Math.min(book.madeUntil, endedAt);
  }
  if (asked.kind === 'change_stock') judgeChange(call as Call<QuestionOf<'change_stock'>>, reply, book, must);
  if (!ok) return;
  const numbers = ['allotment', 'available', 'reserved', 'sold'].map((name) => Number(body[name]));
  const [allotment = 0, available = 0, reserved = 0, sold = 0] = numbers;
  must(
    allotment === available + reserved + sold && Math.min(...numbers) >= 0,
    `${available} available + ${reserved} reserved + ${sold} sold, and the allotment is ${allotment}`,
  );
  const ledger = body.ledger as { allotment: number; sold: number } | undefined;
  must((ledger?.sold ?? 0) <= (ledger?.allotment ?? 0), `the ledger sold ${ledger?.sold} of ${ledger?.allotment}`);
  book.words.push({ ...said, word: 'numbers', allotment });
}

function judgeChange(call: Call<QuestionOf<'change_stock'>>, reply: Reply, book: SaleBook, must: Must): void {
  const { asked, n, sentAt } = call;
  const word = wordOf(reply);
  const change = book.changes.get(asked.changeId);
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
  // Asked for again it stays refused, whatever is available by then: only the first word can be judged.
  if (change.from !== sentAt) return;
  const number = Number(reply.body.available ?? Number.NaN);
  book.words.push({ n, word, sentAt, endedAt: reply.endedAt, buyerId: '', quantity: asked.delta, number });
}

/** What a worker does with many sales: an idle run costs the same, and the live ones come first. */
import { createReaper } from '@flash-sale/worker/recovery/reaper.ts';
import { createSalePages } from '@flash-sale/worker/recovery/sale-pages.ts';
import { syncSales } from '@flash-sale/worker/recovery/sync-sales.ts';
import { createInventoryWatch } from '@flash-sale/worker/recovery/watch-inventories.ts';
import { beforeEach, expect, test } from 'vitest';
import { useWorldPerTest } from '../support/fixtures.ts';
import { makeSale } from '../support/sales.ts';
import { OPERATOR, type WorkerSteps, workerSteps } from '../support/worker-steps.ts';

const SALES = 10;
/** Sales in a page. */
const PAGE = 4;

const world = useWorldPerTest();
let steps: WorkerSteps;
let ids: string[];
/** Calls of the inventory, by sale. */
let asked: string[];

beforeEach(async () => {
  steps = workerSteps(world);
  const sales = await Promise.all(Array.from({ length: SALES }, () => makeSale(world)));
  ids = sales.map(({ id }) => id).sort();
  asked = [];
});

const asking =
  <Rest extends unknown[], Result>(work: (saleId: string, ...rest: Rest) => Result) =>
  (saleId: string, ...rest: Rest): Result => {
    asked.push(saleId);
    return work(saleId, ...rest);
  };

const askedSince = (): string[] => asked.splice(0).sort();

function watchOf() {
  const inventory = { ...steps.inventory, check: asking(steps.inventory.check) };
  return createInventoryWatch({ ...steps, inventory, pageMax: PAGE });
}

const openIn = async (epoch: number): Promise<string[]> => {
  const found = await Promise.all(
    ids.map((id) => world.redis.hmget(world.keys.sale(id).inventory, 'epoch', 'instance_id')),
  );
  return ids.filter((_, i) => found[i]?.[0] === String(epoch) && found[i]?.[1] !== '');
};

test('an idle run checks a page of the inventories, and every one within a few runs', async () => {
  const watch = watchOf();
  for (const [from, to] of [
    [0, 4],
    [4, 8],
    [8, 10],
    [0, 4],
  ] as const) {
    await watch.runOnce(false);
    expect(askedSince()).toEqual(ids.slice(from, to));
  }
});

test('[I11] one closed inventory in a page: all are checked, and rebuilt in the same run', async () => {
  const watch = watchOf();
  const closed = [ids[1], ids[8]] as string[];
  await Promise.all(closed.map((id) => steps.otherInstance(id)));
  await watch.runOnce(false);
  expect(new Set(asked)).toEqual(new Set(ids));
  expect(await openIn(2)).toEqual(closed);
  askedSince();
  await watch.runOnce(false);
  expect(askedSince()).toHaveLength(PAGE);
});

test('[I11] sales with reservations are rebuilt first, then those that are open, and several at once', async () => {
  const [reserved, sold] = [ids[7] as string, ids[5] as string];
  await world.pool.query(`UPDATE sales SET starts_at = now() + interval '30 min' WHERE id <> ALL($1)`, [
    [reserved, sold],
  ]);
  await steps.order(reserved);
  await Promise.all(ids.map((id) => steps.otherInstance(id)));
  const taken: string[] = [];
  let [running, most] = [0, 0];
  const rebuild: typeof steps.rebuild = {
    ...steps.rebuild,
    takeLease(saleId, ...rest) {
      taken.push(saleId);
      most = Math.max(most, ++running);
      return steps.rebuild.takeLease(saleId, ...rest);
    },
    returnLease(...args) {
      running -= 1;
      return steps.rebuild.returnLease(...args);
    },
  };
  await createInventoryWatch({ ...steps, rebuild }).runOnce(false);
  expect(taken.slice(0, 2)).toEqual([reserved, sold]);
  expect(most).toBeGreaterThan(1);
  expect(await openIn(2)).toEqual(ids);
});

test('the reaper visits only sales that have reservations', async () => {
  const reserved = [ids[0], ids[6], ids[9]] as string[];
  for (const id of reserved) await steps.order(id);
  const inventory = { ...steps.inventory, claimOrphans: asking(steps.inventory.claimOrphans) };
  const queue = { add: async () => {}, orderIdsInProgress: async () => new Set<string>() };
  const reject = () => Promise.reject(new Error('nothing is to be rejected'));
  const reaper = createReaper({ ...steps, inventory, queue, reject, orphanAgeMs: 60_000 });
  await reaper.runOnce(false);
  expect(askedSince()).toEqual(reserved);
});

test('a synced sale is synced again within a few runs, a changed one in the next', async () => {
  const inventory: typeof steps.inventory = {
    ...steps.inventory,
    configure(sale) {
      asked.push(sale.id);
      return steps.inventory.configure(sale);
    },
  };
  const pages = createSalePages(steps.sales, PAGE);
  const changed = ids[9] as string;
  await steps.sales.setPaused(changed, true, OPERATOR);
  const run = () => syncSales({ ...steps, inventory }, pages);
  await run();
  expect(askedSince()).toEqual([...ids.slice(0, 4), changed]);
  await run();
  await run();
  expect(askedSince()).toEqual(ids.slice(4));
});

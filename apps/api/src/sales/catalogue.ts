/**
 * The settings of all current sales in process memory, so that a crowd's reads cost no query. Only
 * what changed is read again: sales that a message named, and every COMPARE_MS those whose version
 * differs. While PostgreSQL is unavailable or slow, what was read last stays.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Sale } from '@flash-sale/core/domain/sale.ts';
import type { SaleStore } from '@flash-sale/core/ledger/sale-store.ts';
import type { FastifyBaseLogger } from 'fastify';

/** Milliseconds until a change is seen whose message was lost. */
const COMPARE_MS = 5_000;
/** Milliseconds that a read waits for PostgreSQL. */
const WAIT_MS = 50;
/** Sales that are read together: 5 ms of the event loop. */
const READ_MAX = 500;
/** A sale stays for an hour after its end, so that late readers cost no query. */
const ENDED_WITHIN_MS = 3_600_000;

export interface Catalogue {
  /** The earliest first. */
  readonly sales: readonly Sale[];
  readonly byId: ReadonlyMap<string, Sale>;
}

type Place = Pick<Sale, 'startsAt' | 'id'>;

/** The earliest first. */
export const compareSales = (a: Place, b: Place): number =>
  a.startsAt - b.startsAt || Number(a.id > b.id) - Number(a.id < b.id);

/** @param deps.readTime Redis's clock, ms since 1970 */
export function createCatalogue({
  sales,
  readTime,
  log,
}: {
  sales: Pick<SaleStore, 'list' | 'versions'>;
  readTime: () => Promise<number>;
  log: Pick<FastifyBaseLogger, 'debug'>;
}) {
  const byId = new Map<string, Sale>();
  /** Null before the first read. */
  let ordered: readonly Sale[] | null = null;
  let isOutdated = true;
  let refreshing: Promise<void> | null = null;
  /** Ids of sales to read. */
  const changed = new Set<string>();
  let comparedAt = Number.NEGATIVE_INFINITY;

  const current = async () => ({ endedWithinMs: ENDED_WITHIN_MS, now: await readTime() });

  async function compare(): Promise<void> {
    const askedAt = performance.now();
    const versions = await sales.versions(await current());
    for (const [id, version] of versions) if (byId.get(id)?.version !== version) changed.add(id);
    for (const id of byId.keys()) if (!versions.has(id)) changed.add(id);
    comparedAt = askedAt;
  }

  async function readChanged(): Promise<void> {
    while (changed.size > 0) {
      const ids = [...changed].slice(0, READ_MAX);
      // Before the read: a change during it is read again.
      for (const id of ids) changed.delete(id);
      try {
        const found = new Map((await sales.list({ ...(await current()), ids })).map((sale) => [sale.id, sale]));
        // Of any version: after a failover or a restore, the ledger's may be lower.
        for (const id of ids) {
          const sale = found.get(id);
          if (sale) byId.set(id, sale);
          else byId.delete(id);
        }
        isOutdated = true;
      } catch (error) {
        for (const id of ids) changed.add(id);
        throw error;
      }
    }
    if (isOutdated) ordered = [...byId.values()].sort(compareSales);
    isOutdated = false;
  }

  async function refreshNow(): Promise<void> {
    try {
      if (performance.now() - comparedAt > COMPARE_MS) await compare();
      await readChanged();
    } catch (error) {
      if (ordered === null) throw error;
      log.debug({ err: (error as Error).message }, 'the catalogue is not refreshed');
    }
  }

  function refresh(): Promise<void> {
    refreshing ??= refreshNow().finally(() => {
      refreshing = null;
    });
    return refreshing;
  }

  return {
    /** @throws if PostgreSQL has not answered yet */
    async read(): Promise<Catalogue> {
      const refreshed = refresh();
      await (ordered === null ? refreshed : Promise.race([refreshed, pause(WAIT_MS)]));
      return { sales: ordered ?? [], byId };
    },

    /** Resolves when the next read has the sale's last change, or PostgreSQL does not answer. */
    async reread(saleId: string): Promise<void> {
      changed.add(saleId);
      // That one may have read the sale before the change.
      await refreshing?.catch(() => {});
      if (ordered !== null) await refresh();
    },

    /** @param saleId null: messages may have been missed */
    invalidate(saleId: string | null): void {
      if (saleId === null) comparedAt = Number.NEGATIVE_INFINITY;
      else changed.add(saleId);
    },
  };
}

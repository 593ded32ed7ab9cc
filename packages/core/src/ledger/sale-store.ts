/**
 * Sales in the ledger: settings, allotment, units sold, and what operators did to them. Each change
 * and its record in operator_actions are one transaction.
 */
import { MAX_ALLOTMENT, MAX_CURRENT_SALES } from '../config/limits.ts';
import type { Sale, StockChange, StockDecision } from '../domain/sale.ts';
import { OtherLedgerError } from '../runtime/unfit-server.ts';
import { type Client, inTransaction, type Pool } from './connect-postgres.ts';
import { IDENTITY_TABLE } from './ledger-id.ts';
import {
  CHANGE_COLUMNS,
  type LedgerSale,
  lockSale,
  readSale,
  SALE_COLUMNS,
  type SaleRow,
  toSale,
} from './sale-rows.ts';

/** Who makes a change, for the record. */
export interface Operator {
  /** Name and address, for example "admin from 10.0.0.7". */
  readonly actor: string;
  readonly requestId: string;
}

export type NewSale = Omit<Sale, 'allotment' | 'paused' | 'version' | 'inventoryVersion' | 'epoch'> & {
  readonly units: number;
};

/** Which sales to list; without a field, all of them. */
export interface SaleFilter {
  /** Leave out sales that ended longer ago. */
  readonly endedWithinMs?: number;
  /** Milliseconds since 1970. Default: the ledger's clock. */
  readonly now?: number;
  /** Only those whose inventory is behind the ledger. */
  readonly unsynced?: boolean;
  readonly ids?: readonly string[];
  /** Only sales with a higher id. */
  readonly after?: string;
  /** Default: by id. */
  readonly order?: keyof typeof ORDERS;
  readonly limit?: number;
}

const ORDERS = {
  'by id': 'id',
  'earliest first': 'starts_at, id',
  'newest first': 'created_at DESC, id',
  'open first': '(now() BETWEEN starts_at AND ends_at) DESC, starts_at, id',
} as const;

export type SaleStore = ReturnType<typeof createSaleStore>;

export function createSaleStore(pool: Pool) {
  return {
    /** @returns null if a sale of this id exists, or there is no room for it */
    async create(sale: NewSale, operator: Operator): Promise<Sale | null> {
      return inTransaction(pool, 'create-sale', async (client) => {
        const { rows } = await client.query<SaleRow>(
          `INSERT INTO sales (id, name, description, original_price, flash_sale_price, currency, allotment,
                              per_buyer_limit, starts_at, ends_at)
           SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9::timestamptz, $10::timestamptz
            WHERE $10::timestamptz <= now() OR ${HAS_ROOM}
           ON CONFLICT (id) DO NOTHING RETURNING ${SALE_COLUMNS}`,
          [
            sale.id,
            sale.name,
            sale.description,
            sale.originalPrice,
            sale.flashSalePrice,
            sale.currency,
            sale.units,
            sale.perBuyerLimit,
            instantText(sale.startsAt),
            instantText(sale.endsAt),
          ],
        );
        const made = rows[0] ? toSale(rows[0]) : null;
        if (made) await record(client, operator, { action: 'create', saleId: made.id, before: null, after: made });
        return made;
      });
    },

    /**
     * @param ledgerId compared in the same statement: tables are empty for a moment while other
     * tools restore the ledger, and get their primary keys only when they are full
     * @returns those of the ids that no sale has
     * @throws OtherLedgerError if it is another ledger, or not all of it is there
     */
    async unknownAmong(saleIds: readonly string[], ledgerId: string): Promise<string[]> {
      const { rows } = await pool.query<{ unknown: string[]; isWhole: boolean }>(
        `SELECT ARRAY(SELECT id FROM unnest($1::text[]) AS given (id)
                       WHERE NOT EXISTS (SELECT FROM sales WHERE sales.id = given.id)) AS unknown,
                EXISTS (SELECT FROM ${IDENTITY_TABLE} WHERE id = $2)
                AND EXISTS (SELECT FROM pg_index WHERE indrelid = 'sales'::regclass AND indisprimary) AS "isWhole"`,
        [saleIds, ledgerId],
      );
      if (!rows[0]?.isWhole) throw new OtherLedgerError('postgres', 'the ledger is another one, or is being restored');
      return rows[0].unknown;
    },

    find: (saleId: string): Promise<LedgerSale | null> => readSale(pool, saleId),

    async list({ endedWithinMs, now, unsynced, ids, after, order, limit }: SaleFilter = {}): Promise<LedgerSale[]> {
      const { rows } = await pool.query<SaleRow>(
        `SELECT ${SALE_COLUMNS} FROM sales
          WHERE ($1::float8 IS NULL OR ends_at > coalesce($6, now()) - make_interval(secs => $1 / 1000.0))
            AND (NOT $2 OR inventory_version < version)
            AND ($3::text[] IS NULL OR id = ANY($3)) AND ($4::text IS NULL OR id > $4)
          ORDER BY ${ORDERS[order ?? 'by id']} LIMIT $5`,
        [endedWithinMs ?? null, unsynced ?? false, ids ?? null, after ?? null, limit ?? null, nowText(now)],
      );
      return rows.map(toSale);
    },

    /**
     * The version of each sale, by its id, in one row: 10,000 of them take 5 ms, as whole sales
     * 100 ms.
     */
    async versions({
      endedWithinMs,
      now,
    }: Pick<SaleFilter, 'endedWithinMs' | 'now'> = {}): Promise<Map<string, number>> {
      const { rows } = await pool.query<{ versions: string | null }>(
        `SELECT string_agg(id || ' ' || version, ',') AS versions FROM sales
          WHERE $1::float8 IS NULL OR ends_at > coalesce($2, now()) - make_interval(secs => $1 / 1000.0)`,
        [endedWithinMs ?? null, nowText(now)],
      );
      const pairs = (rows[0]?.versions ?? '').split(',').filter((pair) => pair !== '');
      return new Map(
        pairs.map((pair) => {
          const [id, version] = pair.split(' ') as [string, string];
          return [id, Number(version)];
        }),
      );
    },

    /** The inventory has this version of the settings. */
    async markSynced(saleId: string, version: number): Promise<void> {
      await inTransaction(pool, 'mark-synced', (client) =>
        client.query('UPDATE sales SET inventory_version = $2 WHERE id = $1 AND inventory_version < $2', [
          saleId,
          version,
        ]),
      );
    },

    /**
     * Claims the opening of a sale's first inventory. From here on a missing inventory was lost,
     * and is rebuilt from the ledger's orders.
     *
     * @returns null if another process claimed it
     */
    async claimOpening(saleId: string): Promise<Sale | null> {
      return inTransaction(pool, 'mark-synced', async (client) => {
        const { rows } = await client.query<SaleRow>(
          `UPDATE sales SET inventory_version = version WHERE id = $1 AND inventory_version = 0 RETURNING ${SALE_COLUMNS}`,
          [saleId],
        );
        return rows[0] ? toSale(rows[0]) : null;
      });
    },

    /** @returns null if the sale is unknown; a sale that is in that state already stays as it is */
    async setPaused(saleId: string, paused: boolean, operator: Operator): Promise<Sale | null> {
      return changeSale(pool, saleId, operator, paused ? 'pause' : 'resume', async (client, before) =>
        before.paused === paused
          ? null
          : client.query<SaleRow>(
              `UPDATE sales SET paused = $2, version = version + 1 WHERE id = $1 RETURNING ${SALE_COLUMNS}`,
              [saleId, paused],
            ),
      );
    },

    /**
     * @param startsAt @param endsAt milliseconds since 1970
     * @returns null if the sale is unknown; as it was if it has ended and there is no room for it
     */
    async changeWindow(saleId: string, startsAt: number, endsAt: number, operator: Operator): Promise<Sale | null> {
      return changeSale(pool, saleId, operator, 'change_window', (client) =>
        client.query<SaleRow>(
          `UPDATE sales SET starts_at = $2::timestamptz, ends_at = $3::timestamptz, version = version + 1
            WHERE id = $1 AND ($3::timestamptz <= now() OR ends_at > now() OR ${HAS_ROOM}) RETURNING ${SALE_COLUMNS}`,
          [saleId, instantText(startsAt), instantText(endsAt)],
        ),
      );
    },

    /**
     * First step of a stock change. If it adds units, the ledger's allotment grows here, before the
     * inventory's: the inventory may lag behind the ledger, never run ahead of it. Repeating the
     * same change returns it as it stands.
     *
     * @returns null if the sale is unknown; 'other_change' if the id belongs to another change;
     * 'too_many' if the allotment would exceed MAX_ALLOTMENT; 'inventory_closed' if the inventory
     * was never opened: it opens with the ledger's allotment, which must not contain this change
     */
    async beginStockChange(
      change: { id: string; saleId: string; delta: number; reason: string },
      operator: Operator,
    ): Promise<StockChange | 'other_change' | 'too_many' | 'inventory_closed' | null> {
      return inTransaction(pool, 'begin-stock-change', async (client) => {
        const sale = await lockSale(client, change.saleId);
        if (!sale) return null;
        const earlier = await client.query<StockChange>(`SELECT ${CHANGE_COLUMNS} FROM stock_changes WHERE id = $1`, [
          change.id,
        ]);
        if (earlier.rows[0]) return sameChange(earlier.rows[0], change) ? earlier.rows[0] : 'other_change';
        if (sale.inventoryVersion === 0) return 'inventory_closed';
        if (sale.allotment + change.delta > MAX_ALLOTMENT) return 'too_many';
        const { rows } = await client.query<StockChange>(
          `INSERT INTO stock_changes (id, sale_id, delta, reason, actor, request_id)
           VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING RETURNING ${CHANGE_COLUMNS}`,
          [change.id, change.saleId, change.delta, change.reason, operator.actor, operator.requestId],
        );
        // Another sale's change took the id meanwhile: only changes of one sale are serialized.
        if (!rows[0]) return 'other_change';
        if (change.delta > 0) await addToAllotment(client, change);
        return rows[0];
      });
    },

    /**
     * Last step of a stock change, after the inventory has decided. Idempotent.
     *
     * @returns false if the inventory was rebuilt since, maybe without the change: it stays
     * pending, to be decided again
     */
    async finishStockChange(change: StockChange, { kind: decided, epoch }: StockDecision): Promise<boolean> {
      return inTransaction(pool, 'finish-stock-change', async (client) => {
        const before = await lockSale(client, change.saleId);
        if (before && before.epoch > epoch) return false;
        const { rowCount } = await client.query(
          `UPDATE stock_changes SET state = $2 WHERE id = $1 AND state = 'pending'`,
          [change.id, decided],
        );
        if (rowCount === 0 || !before) return true;
        if (decided === 'applied' && change.delta < 0) await addToAllotment(client, change);
        // Added units are in the ledger's allotment since the first step.
        const base = change.delta > 0 ? before.allotment - change.delta : before.allotment;
        await record(client, change, {
          action: 'change_stock',
          saleId: change.saleId,
          before: { allotment: base },
          after: { allotment: decided === 'applied' ? base + change.delta : base, delta: change.delta, decided },
          reason: change.reason,
        });
        return true;
      });
    },

    /** Changes that are pending for longer than `olderThanMs`: the process that began them died. */
    async listUnfinishedStockChanges(olderThanMs: number): Promise<StockChange[]> {
      const { rows } = await pool.query<StockChange>(
        `SELECT ${CHANGE_COLUMNS} FROM stock_changes
          WHERE state = 'pending' AND created_at < now() - make_interval(secs => $1 / 1000.0) ORDER BY created_at`,
        [olderThanMs],
      );
      return rows;
    },
  };
}

/** Not exact under concurrent changes: a few more sales do no harm. */
const HAS_ROOM = `(SELECT count(*) FROM sales WHERE ends_at > now()) < ${MAX_CURRENT_SALES}`;

/** Exact: to_timestamp() takes a double, which has no milliseconds after the year 2255. */
const instantText = (ms: number): string => new Date(ms).toISOString();
const nowText = (ms: number | undefined): string | null => (ms === undefined ? null : instantText(ms));

async function addToAllotment(client: Client, { saleId, delta }: Pick<StockChange, 'saleId' | 'delta'>): Promise<void> {
  await client.query('UPDATE sales SET allotment = allotment + $2 WHERE id = $1', [saleId, delta]);
}

async function changeSale(
  pool: Pool,
  saleId: string,
  operator: Operator,
  action: 'pause' | 'resume' | 'change_window',
  update: (client: Client, before: LedgerSale) => Promise<{ rows: SaleRow[] } | null>,
): Promise<Sale | null> {
  const names = { pause: 'pause-sale', resume: 'resume-sale', change_window: 'change-window' } as const;
  return inTransaction(pool, names[action], async (client) => {
    const before = await lockSale(client, saleId);
    if (!before) return null;
    const row = (await update(client, before))?.rows[0];
    if (!row) return before;
    const after = toSale(row);
    await record(client, operator, { action, saleId, before, after });
    return after;
  });
}

function sameChange(a: StockChange, b: { saleId: string; delta: number; reason: string }): boolean {
  return a.saleId === b.saleId && a.delta === b.delta && a.reason === b.reason;
}

async function record(
  client: Client,
  operator: Operator,
  entry: { action: string; saleId: string; before: object | null; after: object; reason?: string },
): Promise<void> {
  await client.query(
    `INSERT INTO operator_actions (actor, action, sale_id, before, after, reason, request_id)
     VALUES ($1, $2, $3, $4, $5, $6, $7)`,
    [
      operator.actor,
      entry.action,
      entry.saleId,
      entry.before === null ? null : JSON.stringify(entry.before),
      JSON.stringify(entry.after),
      entry.reason ?? null,
      operator.requestId,
    ],
  );
}

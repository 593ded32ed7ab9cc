/** The file that describes a backup. */
import { type Static, Type } from '@sinclair/typebox';

export const MANIFEST = 'manifest.json';
/** `npm run recover:orders` reads it. */
export const MISSING_ORDERS_FILE = 'accepted-orders.log.gz';

const File = { name: Type.String({ pattern: '^[A-Za-z0-9_.-]+$' }), bytes: Type.Integer(), sha256: Type.String() };

export const ManifestSchema = Type.Object({
  /** ISO 8601, by the ledger's clock: everything committed by then is in the backup. */
  at: Type.String(),
  /** Names of the migrations that the ledger had, in order. */
  migrations: Type.Array(Type.String()),
  /** In an order in which they can be filled. */
  tables: Type.Array(
    Type.Object({ ...File, table: Type.String(), columns: Type.Array(Type.String()), rows: Type.Integer() }),
  ),
  /** null: no log of the API was given. */
  missingOrders: Type.Union([Type.Null(), Type.Object({ ...File, orders: Type.Integer() })]),
});

export type Manifest = Static<typeof ManifestSchema>;

-- Up Migration
-- The inventory's lives. Redis may come back without what it knew; each inventory that is rebuilt from the ledger has a higher epoch, and
-- whatever still speaks for an older one is refused.

ALTER TABLE sales ADD COLUMN epoch integer NOT NULL DEFAULT 1; -- of the inventory's present life; only ever raised

CREATE TABLE inventory_epochs (
  sale_id    text NOT NULL REFERENCES sales (id),
  epoch      integer NOT NULL,
  reason     text NOT NULL CHECK (reason IN ('missing', 'other_server', 'closed', 'behind', 'inconsistent', 'asked_for')),
  noticed_at timestamptz NOT NULL, -- when a worker saw that admission was closed
  opened_at  timestamptz,          -- null: its rebuilding was not finished, or its end not written down
  reserved   integer,              -- units of the orders that were found again and go on
  sold       integer,              -- units that the ledger had
  lost       integer,              -- reservations that were dropped because there was no room for them
  PRIMARY KEY (sale_id, epoch)
);

-- An inventory is rebuilt from one sale's orders, not from all there ever were.
CREATE INDEX orders_by_sale ON orders (sale_id, id);

-- I4: a key leads to its order for ever, also to one that was rejected; only among the confirmed is it unique.
DROP INDEX orders_once_by_key;
CREATE UNIQUE INDEX orders_once_by_key ON orders (sale_id, buyer_id, idempotency_key)
  WHERE idempotency_key IS NOT NULL AND status = 'confirmed';

-- Down Migration
DROP INDEX orders_once_by_key;
CREATE UNIQUE INDEX orders_once_by_key ON orders (sale_id, buyer_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
DROP INDEX orders_by_sale;
DROP TABLE inventory_epochs;
ALTER TABLE sales DROP COLUMN epoch;

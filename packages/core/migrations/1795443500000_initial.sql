-- Up Migration
-- The ledger: the source of truth for orders. Prices are numeric, never floats.

CREATE TABLE sales (
  id                text PRIMARY KEY CHECK (id ~ '^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$'),
  name              text NOT NULL,
  description       text,
  original_price    numeric(13, 4) NOT NULL CHECK (original_price >= 0),
  flash_sale_price  numeric(13, 4) NOT NULL CHECK (flash_sale_price >= 0),
  currency          text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
  allotment         integer NOT NULL,
  sold              integer NOT NULL DEFAULT 0,
  per_buyer_limit   integer NOT NULL DEFAULT 0 CHECK (per_buyer_limit >= 0), -- units; 0 = no limit
  starts_at         timestamptz NOT NULL,
  ends_at           timestamptz NOT NULL CHECK (ends_at > starts_at),
  paused            boolean NOT NULL DEFAULT false,
  version           integer NOT NULL DEFAULT 1, -- raised by each change of window or pause
  inventory_version integer NOT NULL DEFAULT 0, -- last version that reached the inventory; 0: never opened
  epoch             integer NOT NULL DEFAULT 1, -- of the inventory's current life; only ever raised
  created_at        timestamptz NOT NULL DEFAULT now(),
  -- I2, the last line against overselling: holds even if the inventory is wrong.
  CONSTRAINT sold_within_allotment CHECK (sold >= 0 AND sold <= allotment)
)
-- Every batch updates its sale's row; free space on the page keeps those updates off the index.
WITH (fillfactor = 50);

-- No foreign key to sales: an order of an unknown sale must still end in a row, as rejected.
CREATE TABLE orders (
  -- Byte order, in any locale: an id begins with its sale's id, so the primary key also finds the
  -- orders of one sale.
  id              text COLLATE "C" PRIMARY KEY,
  sale_id         text NOT NULL,
  buyer_id        text NOT NULL,
  quantity        integer NOT NULL CHECK (quantity > 0),
  unit_price      numeric(13, 4), -- the sale's price when the order was confirmed; null for a rejected order
  amount          numeric(17, 4), -- quantity × unit_price
  currency        text,
  status          text NOT NULL CHECK (status IN ('confirmed', 'rejected')),
  reason          text CHECK ((status = 'rejected') = (reason IS NOT NULL)),
  request_id      text NOT NULL,
  idempotency_key text,
  created_at      timestamptz NOT NULL, -- when the inventory reserved, by the clock of Redis
  finished_at     timestamptz NOT NULL DEFAULT now(),
  CHECK (status = 'rejected' OR (unit_price IS NOT NULL AND amount = quantity * unit_price AND currency IS NOT NULL)),
  -- A ULID begins with 0 until the year 3084.
  CONSTRAINT orders_id_of_sale CHECK (starts_with(id, sale_id || '-0') AND length(id) = length(sale_id) + 27)
);

-- I4: one confirmed order for each key, even if Redis has lost the key.
CREATE UNIQUE INDEX orders_once_by_key ON orders (sale_id, buyer_id, idempotency_key)
  WHERE idempotency_key IS NOT NULL AND status = 'confirmed';

-- A stock change is made in ledger and inventory. Its state says how far it has come, so that it
-- survives a crash.
CREATE TABLE stock_changes (
  id         text PRIMARY KEY,
  sale_id    text NOT NULL REFERENCES sales (id),
  delta      integer NOT NULL CHECK (delta <> 0), -- units; negative withdraws
  reason     text NOT NULL,
  state      text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'applied', 'refused')),
  actor      text NOT NULL,
  request_id text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX stock_changes_pending ON stock_changes (created_at) WHERE state = 'pending';

CREATE TABLE operator_actions (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at         timestamptz NOT NULL DEFAULT now(),
  actor      text NOT NULL, -- name and address
  action     text NOT NULL CHECK (action IN ('create', 'pause', 'resume', 'change_window', 'change_stock')),
  sale_id    text NOT NULL,
  before     jsonb,
  after      jsonb NOT NULL,
  reason     text,
  request_id text NOT NULL
);
CREATE INDEX operator_actions_by_sale ON operator_actions (sale_id, id);

-- Each rebuild of an inventory. Writes that carry a lower epoch than the inventory's are refused.
CREATE TABLE inventory_epochs (
  sale_id    text NOT NULL REFERENCES sales (id),
  epoch      integer NOT NULL,
  reason     text NOT NULL
             CHECK (reason IN ('missing', 'other_server', 'closed', 'behind', 'ahead', 'inconsistent', 'asked_for')),
  noticed_at timestamptz NOT NULL, -- when a worker first saw the inventory closed
  opened_at  timestamptz,          -- null: the rebuild did not finish, or this record was not completed
  reserved   integer,              -- units of pending orders whose reservations were kept
  sold       integer,              -- units that the ledger had sold
  lost       integer,              -- reservations that were rejected because there was no room
  PRIMARY KEY (sale_id, epoch)
);

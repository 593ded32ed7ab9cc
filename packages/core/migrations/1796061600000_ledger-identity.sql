-- Up Migration
-- One row, from the first start of a service on. Redis keeps a copy under its key prefix: two
-- ledgers on one Redis would reject each other's orders.

CREATE TABLE ledger_identity (
  id  uuid NOT NULL DEFAULT gen_random_uuid(),
  one boolean PRIMARY KEY DEFAULT true CHECK (one)
);

-- A sale's id may name a variant of its event. Prices keep the decimals that were sent: 0.30 stays
-- 0.30.
ALTER TABLE sales
  DROP CONSTRAINT sales_id_check,
  ADD CONSTRAINT sales_id_check CHECK (id ~ '^[A-Za-z0-9][A-Za-z0-9_-]{0,63}(\.[A-Za-z0-9_-]{1,32})?$'),
  DROP CONSTRAINT sales_original_price_check,
  DROP CONSTRAINT sales_flash_sale_price_check,
  ALTER COLUMN original_price TYPE numeric USING trim_scale(original_price),
  ALTER COLUMN flash_sale_price TYPE numeric USING trim_scale(flash_sale_price),
  ADD CONSTRAINT sales_original_price_check CHECK (original_price >= 0 AND original_price < 1000000000),
  ADD CONSTRAINT sales_flash_sale_price_check CHECK (flash_sale_price >= 0 AND flash_sale_price < 1000000000);
ALTER TABLE orders
  ALTER COLUMN unit_price TYPE numeric USING trim_scale(unit_price),
  ALTER COLUMN amount TYPE numeric USING trim_scale(amount);

-- What loops look for twice a second, among all sales ever.
CREATE INDEX sales_by_end ON sales (ends_at);
CREATE INDEX sales_unsynced ON sales (id) WHERE inventory_version < version;

-- Up Migration
-- An order's id begins with its sale's, so that the primary key finds one sale's orders by itself: an index less for each order to be written
-- into (docs/decisions.md). Bytes are compared, in whatever locale the database is.
-- Who reads for long holds this up, and everybody would wait behind it: rather it fails, and is typed again.
SET LOCAL lock_timeout = '5s';
DROP INDEX orders_by_sale;
ALTER TABLE orders ALTER COLUMN id TYPE text COLLATE "C";
-- A ULID begins with 0 until the year 3084.
ALTER TABLE orders ADD CONSTRAINT orders_id_of_sale
  CHECK (starts_with(id, sale_id || '-0') AND length(id) = length(sale_id) + 27);

-- Down Migration
ALTER TABLE orders DROP CONSTRAINT orders_id_of_sale;
ALTER TABLE orders ALTER COLUMN id TYPE text COLLATE "default";
CREATE INDEX orders_by_sale ON orders (sale_id, id);

-- Up Migration
-- An order's id begins with its sale's, so that the primary key finds one sale's orders by itself: an index less for each order to be written
-- into (docs/measurements/steps.md). Bytes are compared, in whatever locale the database is.
ALTER TABLE orders ALTER COLUMN id TYPE text COLLATE "C";
ALTER TABLE orders ADD CONSTRAINT orders_id_of_sale CHECK (starts_with(id, sale_id || '-'));
DROP INDEX orders_by_sale;

-- Down Migration
CREATE INDEX orders_by_sale ON orders (sale_id, id);
ALTER TABLE orders DROP CONSTRAINT orders_id_of_sale;
ALTER TABLE orders ALTER COLUMN id TYPE text COLLATE "default";

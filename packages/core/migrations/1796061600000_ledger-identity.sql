-- Up Migration
-- One row, from the first start of a service on. Redis keeps a copy under its key prefix: two
-- ledgers on one Redis would reject each other's orders.

CREATE TABLE ledger_identity (
  id  uuid NOT NULL DEFAULT gen_random_uuid(),
  one boolean PRIMARY KEY DEFAULT true CHECK (one)
);

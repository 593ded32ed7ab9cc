-- Up Migration
-- A ledger that was restored may be behind an inventory that lived on: a word for it.
SET LOCAL lock_timeout = '5s';
ALTER TABLE inventory_epochs DROP CONSTRAINT inventory_epochs_reason_check;
ALTER TABLE inventory_epochs ADD CONSTRAINT inventory_epochs_reason_check
  CHECK (reason IN ('missing', 'other_server', 'closed', 'behind', 'ahead', 'inconsistent', 'asked_for'));

-- Down Migration
UPDATE inventory_epochs SET reason = 'asked_for' WHERE reason = 'ahead';
ALTER TABLE inventory_epochs DROP CONSTRAINT inventory_epochs_reason_check;
ALTER TABLE inventory_epochs ADD CONSTRAINT inventory_epochs_reason_check
  CHECK (reason IN ('missing', 'other_server', 'closed', 'behind', 'inconsistent', 'asked_for'));

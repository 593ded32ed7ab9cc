-- Up Migration
-- A ledger that was restored may be behind a gate that lived on: a word for it.
SET LOCAL lock_timeout = '5s';
ALTER TABLE gate_epochs DROP CONSTRAINT gate_epochs_reason_check;
ALTER TABLE gate_epochs ADD CONSTRAINT gate_epochs_reason_check
  CHECK (reason IN ('missing', 'other_server', 'closed', 'behind', 'ahead', 'inconsistent', 'asked_for'));

-- Down Migration
UPDATE gate_epochs SET reason = 'asked_for' WHERE reason = 'ahead';
ALTER TABLE gate_epochs DROP CONSTRAINT gate_epochs_reason_check;
ALTER TABLE gate_epochs ADD CONSTRAINT gate_epochs_reason_check
  CHECK (reason IN ('missing', 'other_server', 'closed', 'behind', 'inconsistent', 'asked_for'));

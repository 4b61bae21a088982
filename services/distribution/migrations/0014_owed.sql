-- What a burn is checked against, without summing up every creator.

-- All creators' settled and held together. Charges do not touch it: what they add is pending. Written by whatever moves
-- money into or out of either, last of all its rows; the audit sums up.
CREATE TABLE owed (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    owed_micro bigint NOT NULL CHECK (owed_micro >= 0)
) WITH (fillfactor = 10);
INSERT INTO owed (owed_micro)
SELECT coalesce(sum(balance_micro), 0) FROM accounts WHERE kind IN ('creator_settled', 'creator_held');

-- Answers that are dropped after a while are found by their method and age.
CREATE INDEX idempotency_by_age ON idempotency (method, created_at);

ANALYZE;

-- One person is one pair of eyes, however the name is spelled; one payment is the proof of one payout.

CREATE UNIQUE INDEX approvals_by_person ON approvals (payout_id, round, lower(btrim(operator_id)));
ALTER TABLE proposals ADD CONSTRAINT proposals_two_people
    CHECK (state NOT IN (2, 3) OR lower(btrim(decided_by)) <> lower(btrim(proposed_by))) NOT VALID;
-- What was decided before stays as it was decided.

CREATE INDEX payouts_by_proof ON payouts (lower(transaction_hash)) WHERE transaction_hash <> '';
CREATE INDEX payout_submissions_by_proof ON payout_submissions (lower(transaction_hash)) WHERE transaction_hash <> '';

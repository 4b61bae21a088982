-- One person is one pair of eyes, however the name is spelled. What was decided before stays as it was decided.

ALTER TABLE reserve_changes DROP CONSTRAINT reserve_changes_four_eyes;
ALTER TABLE reserve_changes ADD CONSTRAINT reserve_changes_four_eyes
    CHECK (state <> 2 OR lower(btrim(decided_by)) <> lower(btrim(requested_by))) NOT VALID;
ALTER TABLE rule_proposals DROP CONSTRAINT rule_proposals_four_eyes;
ALTER TABLE rule_proposals ADD CONSTRAINT rule_proposals_four_eyes CHECK (
    state NOT IN (3, 4, 5) OR rule_version = 1
    OR (decided_by IS NOT NULL AND lower(btrim(decided_by)) <> lower(btrim(proposed_by)))
) NOT VALID;

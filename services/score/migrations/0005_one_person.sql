-- One person is one pair of eyes, however the name is spelled. What was decided before stays.

ALTER TABLE imports ADD CONSTRAINT imports_two_people
    CHECK (decided_by IS NULL OR lower(btrim(decided_by)) <> lower(btrim(operator_id))) NOT VALID;

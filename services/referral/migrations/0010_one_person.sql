-- One person is one pair of eyes, however the name is spelled. What was activated before stays.

ALTER TABLE risk_weights ADD CONSTRAINT risk_weights_two_people
    CHECK (lower(btrim(activated_by)) <> lower(btrim(proposed_by)) OR weights_version = 1) NOT VALID;

-- A registration may be taken out of all counts and put back, and may be told of before it is known: one row holds both,
-- so that whoever writes the second knows of the first. Of those from before this only the day is known: a rebuild
-- makes them whole.
ALTER TABLE referees
    ADD COLUMN referrer_ref uuid,
    ADD COLUMN registered_at timestamptz,
    ADD COLUMN flagged boolean NOT NULL DEFAULT false,
    ADD COLUMN flag_revision bigint NOT NULL DEFAULT 0,
    ALTER COLUMN channel DROP NOT NULL,
    ALTER COLUMN registered_on DROP NOT NULL;

-- The newest that counts of a creator in a window, where one is taken out.
CREATE INDEX referees_counting ON referees (referrer_ref, registered_at) WHERE NOT flagged;

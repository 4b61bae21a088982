-- Registrations that were told not to count where referrals are shown off, and whether they count again.
CREATE TABLE registration_flags (
    referee_ref uuid PRIMARY KEY,
    referrer_ref uuid NOT NULL,
    flagged boolean NOT NULL,
    revision bigint NOT NULL CHECK (revision > 0),
    changed_at timestamptz NOT NULL
) WITH (fillfactor = 70);

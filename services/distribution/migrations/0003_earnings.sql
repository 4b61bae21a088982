-- A creator's earnings after they accrued: pending, maturing, withdrawable (money rule 9).

-- Open earnings, one row per charge that gave a share: a working set, not history. The balance of creator:<ref>:pending
-- is the sum of a creator's rows, at every instant: both change in one transaction.
CREATE TABLE pending_earnings (
    creator_ref uuid NOT NULL,
    distribution_id uuid NOT NULL,
    inference_charge_id text NOT NULL,
    -- What is left of the share; a refund takes from it.
    amount_micro bigint NOT NULL CHECK (amount_micro > 0),
    accrued_at timestamptz NOT NULL,
    -- The later of accrual and the clearing of the last payment that funded it; null while one has not cleared.
    cleared_at timestamptz CHECK (cleared_at >= accrued_at),
    PRIMARY KEY (creator_ref, distribution_id)
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX pending_earnings_due ON pending_earnings (cleared_at) WHERE cleared_at IS NOT NULL;

-- Settled, but within the hold from accrual. Rows whose time has come are dropped: their money is in :settled anyway.
CREATE TABLE maturing_earnings (
    creator_ref uuid NOT NULL,
    matures_at timestamptz NOT NULL,
    distribution_id uuid NOT NULL,
    amount_micro bigint NOT NULL CHECK (amount_micro > 0),
    PRIMARY KEY (creator_ref, matures_at, distribution_id)
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX maturing_earnings_matured ON maturing_earnings (matures_at);

-- What became of each share: history, from which the two above can be worked out again.
CREATE TABLE earning_changes (
    distribution_id uuid NOT NULL,
    -- No foreign key: it would be checked row by row for a million at once. The audit looks.
    transfer_id uuid NOT NULL,
    creator_ref uuid NOT NULL,
    -- Numbers of creator.distribution.v1.EarningsChange: 1 settled, 2 clawed back, 7 forfeited from pending.
    change smallint NOT NULL CHECK (change IN (1, 2, 7)),
    amount_micro bigint NOT NULL CHECK (amount_micro > 0),
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (distribution_id, transfer_id)
);
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON earning_changes FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable_truncate BEFORE TRUNCATE ON earning_changes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- What every command but Finalize locks first for a creator, and what its buckets cannot be told from balances.
CREATE TABLE creator_states (
    creator_ref uuid PRIMARY KEY,
    frozen boolean NOT NULL DEFAULT false,
    -- Revision of the standing that decided it: an older one changes nothing.
    standing_revision bigint NOT NULL DEFAULT 0,
    paid_out_micro bigint NOT NULL DEFAULT 0 CHECK (paid_out_micro >= 0),
    reversed_micro bigint NOT NULL DEFAULT 0 CHECK (reversed_micro >= 0),
    changed_at timestamptz
) WITH (fillfactor = 70);

-- In the statement that journals a group of charges. A charge that names its payments waits for them to clear.
CREATE FUNCTION open_earnings() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pending_earnings (
        creator_ref, distribution_id, inference_charge_id, amount_micro, accrued_at, cleared_at
    )
    SELECT referrer_ref, distribution_id, inference_charge_id, referrer_micro, finalized_at,
        CASE WHEN funding IS NULL THEN finalized_at END
    FROM charged WHERE referrer_micro > 0;
    RETURN NULL;
END $$;

CREATE TRIGGER earnings AFTER INSERT ON distributions REFERENCING NEW TABLE AS charged
    FOR EACH STATEMENT EXECUTE FUNCTION open_earnings();

INSERT INTO pending_earnings (creator_ref, distribution_id, inference_charge_id, amount_micro, accrued_at, cleared_at)
SELECT referrer_ref, distribution_id, inference_charge_id, referrer_micro, finalized_at,
    CASE WHEN funding IS NULL THEN finalized_at END
FROM distributions WHERE referrer_micro > 0;

ANALYZE;

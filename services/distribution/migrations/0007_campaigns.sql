-- Campaigns, their budgets, the credits granted out of them, what those were spent on, and the score pool's funding.

-- Campaigns -------------------------------------------------------------------------------------------------------

-- Its row is locked by whatever reserves, grants or releases in it: one after the other, so that the sum is exact.
CREATE TABLE campaigns (
    -- UUIDv7: newest first is by id.
    campaign_id uuid PRIMARY KEY,
    name text NOT NULL,
    -- Numbers of creator.distribution.v1.CampaignType and CampaignState.
    type smallint NOT NULL,
    state smallint NOT NULL DEFAULT 1,
    -- 0 for no cap; it never changes, so that only capped campaigns need to know what each account got.
    account_cap_micro bigint NOT NULL,
    granted_micro bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    CONSTRAINT campaigns_type CHECK (type IN (1, 2)),
    CONSTRAINT campaigns_state CHECK (state BETWEEN 1 AND 4),
    CONSTRAINT campaigns_amounts CHECK (account_cap_micro >= 0 AND granted_micro >= 0)
) WITH (fillfactor = 70);
-- So that "the active one of this type" is one.
CREATE UNIQUE INDEX campaigns_one_active ON campaigns (type) WHERE state = 2;

-- Who did what to it, and why.
CREATE TABLE campaign_changes (
    change_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign_id uuid NOT NULL REFERENCES campaigns (campaign_id),
    change text NOT NULL,
    amount_micro bigint NOT NULL,
    operator_id text NOT NULL,
    reason text NOT NULL,
    changed_at timestamptz NOT NULL
);
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON campaign_changes FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable_truncate BEFORE TRUNCATE ON campaign_changes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- What an account was granted or has reserved, in campaigns with a cap.
CREATE TABLE campaign_accounts (
    campaign_id uuid NOT NULL REFERENCES campaigns (campaign_id),
    account_ref uuid NOT NULL,
    taken_micro bigint NOT NULL,
    PRIMARY KEY (campaign_id, account_ref),
    CONSTRAINT campaign_accounts_taken CHECK (taken_micro >= 0)
) WITH (fillfactor = 70);

CREATE TABLE reservations (
    reservation_id text PRIMARY KEY,
    campaign_id uuid NOT NULL REFERENCES campaigns (campaign_id),
    account_ref uuid NOT NULL,
    amount_micro bigint NOT NULL,
    -- Numbers of creator.distribution.v1.ReservationState.
    state smallint NOT NULL DEFAULT 1,
    reserved_at timestamptz NOT NULL,
    closed_at timestamptz,
    -- The grant that used it up.
    grant_id text,
    release_reason text,
    CONSTRAINT reservations_amount CHECK (amount_micro BETWEEN 1 AND 1000000000000000),
    CONSTRAINT reservations_state CHECK (
        CASE state
            WHEN 1 THEN closed_at IS NULL
            WHEN 2 THEN closed_at IS NOT NULL AND grant_id IS NOT NULL
            WHEN 3 THEN closed_at IS NOT NULL AND release_reason IS NOT NULL
            ELSE false
        END
    )
);

-- Credits ---------------------------------------------------------------------------------------------------------

-- Credits granted at once. The balance of credits:<ref>:<pool> is what is left of its lots.
CREATE TABLE credit_lots (
    -- UUIDv7.
    lot_id uuid PRIMARY KEY,
    account_ref uuid NOT NULL,
    pool text NOT NULL,
    -- No foreign keys: they would be checked row by row for 100,000 at once. The audit looks.
    campaign_id uuid NOT NULL,
    transfer_id uuid NOT NULL,
    grant_id text NOT NULL CONSTRAINT credit_lots_granted_once UNIQUE,
    granted_micro bigint NOT NULL,
    remaining_micro bigint NOT NULL,
    granted_at timestamptz NOT NULL,
    CONSTRAINT credit_lots_granted CHECK (granted_micro BETWEEN 1 AND 1000000000000000),
    CONSTRAINT credit_lots_remaining CHECK (remaining_micro BETWEEN 0 AND granted_micro)
) WITH (fillfactor = 80);
-- Oldest first: the order in which they are listed and spent.
CREATE INDEX credit_lots_by_age ON credit_lots (account_ref, granted_at, lot_id);
CREATE TRIGGER immutable
    BEFORE UPDATE OF lot_id, account_ref, pool, campaign_id, transfer_id, grant_id, granted_micro, granted_at OR DELETE
    ON credit_lots FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable_truncate BEFORE TRUNCATE ON credit_lots
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- What was burned for a charge, once per charge; a row also where there was nothing to burn.
CREATE TABLE burns (
    inference_charge_id text PRIMARY KEY,
    account_ref uuid NOT NULL,
    up_to_micro bigint NOT NULL,
    spent_micro bigint NOT NULL,
    lot_ids uuid[] NOT NULL,
    amounts_micro bigint[] NOT NULL,
    transfer_id uuid,
    burned_at timestamptz NOT NULL,
    -- When it was put back, for a charge that billing gave up.
    returned_at timestamptz,
    return_transfer_id uuid,
    CONSTRAINT burns_amounts CHECK (
        up_to_micro BETWEEN 1 AND 1000000000000000 AND spent_micro BETWEEN 0 AND up_to_micro
    ),
    CONSTRAINT burns_lots CHECK (
        cardinality(lot_ids) = cardinality(amounts_micro) AND coalesce(total(amounts_micro), 0) = spent_micro
    ),
    CONSTRAINT burns_transfer CHECK ((transfer_id IS NULL) = (spent_micro = 0))
);
CREATE TRIGGER immutable
    BEFORE UPDATE OF
        inference_charge_id, account_ref, up_to_micro, spent_micro, lot_ids, amounts_micro, transfer_id, burned_at
    OR DELETE ON burns FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable_truncate BEFORE TRUNCATE ON burns FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Burning credits for a charge and finalizing it exclude each other: the one takes the charge's lock alone, the other
-- with those of its whole group shared, after its rows are in and before they can be seen.
CREATE FUNCTION charge_lock(charge_id text) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN hashtextextended(charge_id, 1920298085);

CREATE FUNCTION cover_burns() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    uncovered text;
    burned_micro bigint;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(charge_lock(inference_charge_id)) FROM charged;
    -- A statement of its own: what it sees is as new as the locks. A subquery, so that it goes by primary key.
    SELECT inference_charge_id, burned INTO uncovered, burned_micro
    FROM (
        SELECT inference_charge_id, promotional_micro, (
            SELECT spent_micro FROM burns
            WHERE burns.inference_charge_id = charged.inference_charge_id AND returned_at IS NULL
        ) AS burned
        FROM charged
    ) AS covered
    WHERE promotional_micro < burned LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'more was burned for charge %', uncovered
            USING ERRCODE = 'check_violation', CONSTRAINT = 'distributions_cover_burns', DETAIL = burned_micro;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER burns AFTER INSERT ON distributions REFERENCING NEW TABLE AS charged
    FOR EACH STATEMENT EXECUTE FUNCTION cover_burns();

-- Staged grants ---------------------------------------------------------------------------------------------------

CREATE TABLE staged_grants (
    staged_grant_id text PRIMARY KEY,
    -- What its rows are known by: short, since there are many.
    number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    campaign_id uuid NOT NULL REFERENCES campaigns (campaign_id),
    -- Numbers of creator.distribution.v1.StagedGrantState.
    state smallint NOT NULL DEFAULT 1,
    wanted_micro bigint NOT NULL,
    accept_less boolean NOT NULL,
    reserved_micro bigint NOT NULL,
    staged_count bigint NOT NULL DEFAULT 0,
    staged_micro bigint NOT NULL DEFAULT 0,
    transfer_id uuid,
    opened_at timestamptz NOT NULL,
    closed_at timestamptz,
    abandon_reason text,
    CONSTRAINT staged_grants_amounts CHECK (
        wanted_micro BETWEEN 1 AND 1000000000000000 AND reserved_micro BETWEEN 1 AND wanted_micro
        AND staged_micro BETWEEN 0 AND reserved_micro AND staged_count >= 0
    ),
    CONSTRAINT staged_grants_state CHECK (
        CASE state
            WHEN 1 THEN closed_at IS NULL AND transfer_id IS NULL
            WHEN 2 THEN closed_at IS NOT NULL AND transfer_id IS NOT NULL
            WHEN 3 THEN closed_at IS NOT NULL AND abandon_reason IS NOT NULL
            ELSE false
        END
    )
) WITH (fillfactor = 70);

-- Grants that are not real yet; gone when they are, or never will be.
CREATE TABLE staged_lots (
    number bigint NOT NULL REFERENCES staged_grants (number),
    grant_id text NOT NULL,
    account_ref uuid NOT NULL,
    amount_micro bigint NOT NULL,
    lot_id uuid NOT NULL,
    -- Ledger account of the credits, opened empty.
    account_id bigint NOT NULL,
    PRIMARY KEY (number, account_id),
    CONSTRAINT staged_lots_grant UNIQUE (number, grant_id),
    CONSTRAINT staged_lots_amount CHECK (amount_micro BETWEEN 1 AND 1000000000000000)
) WITH (autovacuum_vacuum_scale_factor = 0.02);

-- Score pool ------------------------------------------------------------------------------------------------------

-- The foundation's shares by UTC day of finalization: one row moved per group of charges, instead of reading a month of
-- charges back.
CREATE TABLE foundation_days (
    day date PRIMARY KEY,
    foundation_micro numeric(38, 0) NOT NULL
) WITH (fillfactor = 50);

CREATE FUNCTION add_foundation_days() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO foundation_days AS days (day, foundation_micro)
    SELECT (finalized_at AT TIME ZONE 'UTC')::date, sum(foundation_micro) FROM charged GROUP BY 1 ORDER BY 1
    ON CONFLICT (day) DO UPDATE SET foundation_micro = days.foundation_micro + excluded.foundation_micro;
    RETURN NULL;
END $$;

CREATE TRIGGER foundation_days AFTER INSERT ON distributions REFERENCING NEW TABLE AS charged
    FOR EACH STATEMENT EXECUTE FUNCTION add_foundation_days();

INSERT INTO foundation_days (day, foundation_micro)
SELECT (finalized_at AT TIME ZONE 'UTC')::date, sum(foundation_micro) FROM distributions GROUP BY 1;

CREATE TABLE score_pool_fundings (
    period text PRIMARY KEY,
    -- No day is counted twice, also where weeks and months meet.
    span daterange NOT NULL,
    net_foundation_micro bigint NOT NULL,
    funding_bps integer NOT NULL,
    funded_micro bigint NOT NULL,
    transfer_id uuid,
    operator_id text NOT NULL,
    reason text NOT NULL,
    funded_at timestamptz NOT NULL,
    number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    CONSTRAINT score_pool_fundings_apart EXCLUDE USING gist (span WITH &&),
    CONSTRAINT score_pool_fundings_rate CHECK (funding_bps BETWEEN 0 AND 10000),
    CONSTRAINT score_pool_fundings_funded CHECK (funded_micro BETWEEN 0 AND greatest(net_foundation_micro, 0)),
    CONSTRAINT score_pool_fundings_transfer CHECK ((transfer_id IS NULL) = (funded_micro = 0))
);
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON score_pool_fundings FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable_truncate BEFORE TRUNCATE ON score_pool_fundings
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

ANALYZE;

-- Distribution's own books. Invariants are constraints; what is history cannot be rewritten.

-- Rules -----------------------------------------------------------------------------------------------------------

CREATE TABLE rules (
    rule_version integer PRIMARY KEY,
    referrer_bps integer NOT NULL,
    commons_bps integer NOT NULL,
    community_bps integer NOT NULL,
    foundation_bps integer NOT NULL,
    margin_floor_bps integer NOT NULL,
    -- From when it applies, by finalized_at; two rules never start at one instant, so every charge has exactly one.
    active_from timestamptz NOT NULL UNIQUE,
    CONSTRAINT rules_referrer_rate CHECK (referrer_bps BETWEEN 0 AND 5000),
    CONSTRAINT rules_remainder_rates CHECK (
        least(commons_bps, community_bps, foundation_bps) >= 0 AND commons_bps + community_bps + foundation_bps = 10000
    ),
    CONSTRAINT rules_margin_floor CHECK (margin_floor_bps BETWEEN 0 AND 10000)
);

-- Counts the changes of the rules: a replica that decided by older ones sees it before anything is written.
CREATE TABLE rules_revision (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    revision bigint NOT NULL
);

INSERT INTO rules VALUES (1, 1000, 500, 7000, 2500, 3000, '0001-01-01 00:00:00+00');
INSERT INTO rules_revision (revision) VALUES (1);

-- Group commits hold the lock shared while they post: a change waits for those under way, and the next ones wait for it
-- and then see the new revision. So no charge is ever written by a rule that was no longer in force.
CREATE FUNCTION count_rules_revision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(1920298085, 1);
    UPDATE rules_revision SET revision = revision + 1;
    RETURN NULL;
END $$;

CREATE TRIGGER rules_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON rules
    FOR EACH STATEMENT EXECUTE FUNCTION count_rules_revision();

-- Attribution -----------------------------------------------------------------------------------------------------

-- Copy of what referral decided, once and for ever; the only place where an account's id meets its surrogate here.
-- Erasing an account deletes its row; journal and events keep the surrogate, which then leads to nobody.
CREATE TABLE attributions (
    account_id text PRIMARY KEY,
    account_ref uuid NOT NULL UNIQUE,
    referrer_ref uuid,
    registered_at timestamptz NOT NULL,
    CONSTRAINT attributions_not_self CHECK (referrer_ref <> account_ref)
);

-- Accounts --------------------------------------------------------------------------------------------------------

-- Balances. Half of every page is left free and no index covers the balance, so that an update stays on its page.
CREATE TABLE accounts (
    account_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    kind text NOT NULL,
    balance_micro bigint NOT NULL DEFAULT 0,
    CONSTRAINT accounts_kind CHECK (kind IN (
        'receipts', 'commons', 'community', 'foundation',
        'creator_pending', 'creator_settled', 'creator_held', 'operating', 'payout_reserve'
    )),
    CONSTRAINT accounts_not_overdrawn CHECK (
        balance_micro >= 0 OR kind IN ('receipts', 'commons', 'community', 'foundation', 'operating')
    )
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

INSERT INTO accounts (name, kind) VALUES
    ('platform:receipts', 'receipts'),
    ('commons', 'commons'),
    ('foundation', 'foundation'),
    ('treasury:operating', 'operating'),
    ('treasury:payout_reserve', 'payout_reserve');

-- Journal ---------------------------------------------------------------------------------------------------------

-- One wide row per charge, for ever. Partitioned by the id itself, so that the id is unique over the whole table.
CREATE TABLE distributions (
    distribution_id uuid NOT NULL,
    payer_ref uuid NOT NULL,
    referrer_ref uuid,
    revenue_micro bigint NOT NULL,
    promotional_micro bigint NOT NULL,
    provider_cost_micro bigint NOT NULL,
    referrer_micro bigint NOT NULL,
    commons_micro bigint NOT NULL,
    community_micro bigint NOT NULL,
    foundation_micro bigint NOT NULL,
    finalized_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    rule_version integer NOT NULL,
    -- Numbers of creator.distribution.v1.ReferrerOutcome.
    referrer_outcome smallint NOT NULL,
    inference_charge_id text PRIMARY KEY,
    community_id text NOT NULL,
    model text NOT NULL,
    model_tier text NOT NULL,
    -- Keyed hash of the whole request: tells "the same again" from "the same id, another charge".
    fingerprint bytea NOT NULL,
    -- [{"model", "amount_micro"}] and [{"payment_id", "amount_micro"}]; null where the charge has none.
    model_breakdown jsonb,
    funding jsonb,
    CONSTRAINT distributions_amounts CHECK (
        revenue_micro BETWEEN 1 AND 1000000000000000
        AND promotional_micro BETWEEN 0 AND revenue_micro
        AND provider_cost_micro BETWEEN 0 AND 1000000000000000
    ),
    CONSTRAINT distributions_shares CHECK (
        least(referrer_micro, commons_micro, community_micro, foundation_micro) >= 0
    ),
    CONSTRAINT distributions_conserved CHECK (
        referrer_micro + commons_micro + community_micro + foundation_micro = revenue_micro - promotional_micro
    ),
    CONSTRAINT distributions_outcome CHECK (referrer_outcome BETWEEN 1 AND 8),
    -- 1: attributed.
    CONSTRAINT distributions_referrer CHECK (
        CASE WHEN referrer_outcome = 1 THEN referrer_ref IS NOT NULL ELSE referrer_micro = 0 END
    )
) PARTITION BY HASH (inference_charge_id);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is immutable: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END $$;

DO $$
BEGIN
    FOR i IN 0 .. 15 LOOP
        EXECUTE format(
            'CREATE TABLE distributions_%s PARTITION OF distributions FOR VALUES WITH (MODULUS 16, REMAINDER %s)', i, i
        );
        EXECUTE format(
            'CREATE TRIGGER immutable_truncate BEFORE TRUNCATE ON distributions_%s
             FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', i
        );
    END LOOP;
END $$;

CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON distributions FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable_truncate BEFORE TRUNCATE ON distributions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Posts one group of charges, or nothing: journal, balances and events in one transaction and one round trip. Answers
-- false where the rules are no longer those that the group was decided by. A charge that is in the journal already is a
-- unique violation. Charges come in order of their id and accounts are locked in theirs, so that two groups never wait
-- for each other crosswise. Its plans go by primary key whatever statistics say, so that they can be kept.
CREATE FUNCTION post_group(
    decided_at_revision bigint,
    group_recorded_at timestamptz,
    distribution_ids uuid[],
    payer_refs uuid[],
    referrer_refs uuid[],
    revenues_micro bigint[],
    promotionals_micro bigint[],
    provider_costs_micro bigint[],
    referrers_micro bigint[],
    commons_micro bigint[],
    communities_micro bigint[],
    foundations_micro bigint[],
    finalized_ats timestamptz[],
    rule_versions integer[],
    referrer_outcomes smallint[],
    inference_charge_ids text[],
    community_ids text[],
    models text[],
    model_tiers text[],
    fingerprints bytea[],
    model_breakdowns jsonb[],
    fundings jsonb[],
    account_ids bigint[],
    amounts_micro bigint[],
    event_ids uuid[],
    event_topics text[],
    event_partitions smallint[],
    event_keys text[],
    event_payloads bytea[],
    event_traceparent text
) RETURNS boolean
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    posted bigint;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1920298085, 1);
    IF (SELECT revision FROM rules_revision) <> decided_at_revision THEN
        RETURN false;
    END IF;
    INSERT INTO distributions (
        distribution_id, payer_ref, referrer_ref, revenue_micro, promotional_micro, provider_cost_micro,
        referrer_micro, commons_micro, community_micro, foundation_micro, finalized_at, rule_version,
        referrer_outcome, inference_charge_id, community_id, model, model_tier, fingerprint, model_breakdown,
        funding, recorded_at
    )
    SELECT charges.*, group_recorded_at
    FROM unnest(
        distribution_ids, payer_refs, referrer_refs, revenues_micro, promotionals_micro, provider_costs_micro,
        referrers_micro, commons_micro, communities_micro, foundations_micro, finalized_ats, rule_versions,
        referrer_outcomes, inference_charge_ids, community_ids, models, model_tiers, fingerprints, model_breakdowns,
        fundings
    ) AS charges;
    WITH locked AS MATERIALIZED (
        SELECT account_id FROM accounts WHERE account_id = ANY (account_ids) ORDER BY account_id FOR NO KEY UPDATE
    )
    UPDATE accounts SET balance_micro = accounts.balance_micro + amounts.amount_micro
    FROM unnest(account_ids, amounts_micro) AS amounts (account_id, amount_micro), locked
    WHERE accounts.account_id = locked.account_id AND amounts.account_id = locked.account_id;
    GET DIAGNOSTICS posted = ROW_COUNT;
    IF posted <> cardinality(account_ids) THEN
        RAISE EXCEPTION 'amounts for % accounts, of which % are there', cardinality(account_ids), posted;
    END IF;
    INSERT INTO outbox (event_id, topic, partition, key, payload, occurred_at, traceparent)
    SELECT events.*, group_recorded_at, event_traceparent
    FROM unnest(event_ids, event_topics, event_partitions, event_keys, event_payloads) AS events;
    RETURN true;
END $$;

-- The journal as double entry: the legs of one transfer sum to zero, by the constraint above.
CREATE VIEW entries AS
SELECT d.distribution_id AS transfer_id, d.inference_charge_id, d.recorded_at, leg.account, leg.amount_micro
FROM distributions AS d
CROSS JOIN LATERAL (VALUES
    ('platform:receipts', d.promotional_micro - d.revenue_micro),
    ('creator:' || d.referrer_ref || ':pending', d.referrer_micro),
    ('commons', d.commons_micro),
    ('community:' || d.community_id, d.community_micro),
    ('foundation', d.foundation_micro),
    -- The reserve backs the referrer's share, in the same transfer.
    ('treasury:operating', -d.referrer_micro),
    ('treasury:payout_reserve', d.referrer_micro)
) AS leg (account, amount_micro)
WHERE leg.amount_micro <> 0;

ANALYZE;

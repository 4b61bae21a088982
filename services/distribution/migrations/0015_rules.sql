-- Who may change the rates, how, and from when; and tiers whose margin fell under the floor.

-- `rules` holds those in force, by time; these are all that were ever drafted, version 1 included.
CREATE TABLE rule_proposals (
    rule_version integer PRIMARY KEY,
    -- Numbers of creator.distribution.v1.RuleState: 1 draft, 2 pending approval, 3 cooling down, 4 active, 5 superseded,
    -- 6 rejected.
    state smallint NOT NULL,
    referrer_bps integer NOT NULL,
    commons_bps integer NOT NULL,
    community_bps integer NOT NULL,
    foundation_bps integer NOT NULL,
    kill_switch boolean NOT NULL,
    cooling_seconds integer NOT NULL,
    proposed_by text NOT NULL,
    decided_by text,
    reason text NOT NULL,
    proposed_at timestamptz NOT NULL,
    cools_down_until timestamptz,
    active_from timestamptz UNIQUE,
    active_to timestamptz,
    CONSTRAINT rule_proposals_state CHECK (state BETWEEN 1 AND 6),
    CONSTRAINT rule_proposals_referrer_rate CHECK (referrer_bps BETWEEN 0 AND 5000),
    CONSTRAINT rule_proposals_remainder_rates CHECK (
        least(commons_bps, community_bps, foundation_bps) >= 0 AND commons_bps + community_bps + foundation_bps = 10000
    ),
    CONSTRAINT rule_proposals_kill_switch CHECK (NOT kill_switch OR referrer_bps = 0),
    -- Seven days, for everything but a kill switch and the rule that came with the schema.
    CONSTRAINT rule_proposals_cooling CHECK (kill_switch OR rule_version = 1 OR cooling_seconds >= 604800),
    CONSTRAINT rule_proposals_cooled CHECK (
        coalesce(active_from >= cools_down_until, active_from IS NULL OR kill_switch OR rule_version = 1)
    ),
    CONSTRAINT rule_proposals_four_eyes CHECK (
        state NOT IN (3, 4, 5) OR rule_version = 1 OR (decided_by IS NOT NULL AND decided_by <> proposed_by)
    ),
    CONSTRAINT rule_proposals_in_force CHECK (
        (state IN (4, 5)) = (active_from IS NOT NULL) AND (state = 5) = (active_to IS NOT NULL)
        AND (active_to IS NULL OR active_to > active_from)
    )
);
CREATE UNIQUE INDEX rule_proposals_one_active ON rule_proposals ((true)) WHERE state = 4;
CREATE INDEX rule_proposals_cooling_down ON rule_proposals (cools_down_until, rule_version) WHERE state = 3;

CREATE FUNCTION guard_rule_proposal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.state, NEW.state) NOT IN (
        (1, 1), (1, 2), (2, 3), (2, 4), (2, 6), (3, 4), (3, 6), (4, 5)
    ) OR (OLD.state = 2 AND NEW.state IN (3, 4) AND NEW.kill_switch <> (NEW.state = 4)) THEN
        RAISE EXCEPTION 'a rule does not go from % to %', OLD.state, NEW.state USING ERRCODE = 'check_violation';
    END IF;
    IF (OLD.rule_version, OLD.kill_switch, OLD.proposed_by, OLD.reason, OLD.proposed_at)
        IS DISTINCT FROM (NEW.rule_version, NEW.kill_switch, NEW.proposed_by, NEW.reason, NEW.proposed_at)
        OR (OLD.state <> 1 AND (NEW.referrer_bps, NEW.cooling_seconds) <> (OLD.referrer_bps, OLD.cooling_seconds))
        -- A kill switch keeps the other rates of the rule that it ends, whichever that is by then.
        OR (OLD.state <> 1 AND (NEW.commons_bps, NEW.community_bps) <> (OLD.commons_bps, OLD.community_bps)
            AND NOT (NEW.kill_switch AND (OLD.state, NEW.state) = (2, 4)))
    THEN
        RAISE EXCEPTION 'rule % is not a draft any more', OLD.rule_version USING ERRCODE = 'check_violation';
    END IF;
    IF coalesce(OLD.cools_down_until <> NEW.cools_down_until, false)
        OR coalesce(OLD.active_from <> NEW.active_from, false)
    THEN
        RAISE EXCEPTION 'rule % has its instants already', OLD.rule_version USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guarded BEFORE UPDATE ON rule_proposals FOR EACH ROW EXECUTE FUNCTION guard_rule_proposal();
CREATE TRIGGER kept BEFORE DELETE ON rule_proposals FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable_truncate BEFORE TRUNCATE ON rule_proposals
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

INSERT INTO rule_proposals (
    rule_version, state, referrer_bps, commons_bps, community_bps, foundation_bps, kill_switch, cooling_seconds,
    proposed_by, reason, proposed_at, active_from
)
SELECT rule_version, 4, referrer_bps, commons_bps, community_bps, foundation_bps, false, 0,
    'schema', 'The rates that the platform began with.', now(), active_from
FROM rules WHERE rule_version = 1;

-- What was in force stays as it was.
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON rules FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable_truncate BEFORE TRUNCATE ON rules FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Whoever changes a rule or a suspension holds this row: they take turns, and the audit counts without gaps.
CREATE TABLE rule_governance (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    sequence bigint NOT NULL
);
INSERT INTO rule_governance (sequence) VALUES (0);

CREATE TABLE rule_audit (
    sequence bigint PRIMARY KEY,
    rule_version integer NOT NULL REFERENCES rule_proposals (rule_version),
    -- 0 for a new draft.
    from_state smallint NOT NULL,
    to_state smallint NOT NULL,
    referrer_bps integer NOT NULL,
    commons_bps integer NOT NULL,
    community_bps integer NOT NULL,
    foundation_bps integer NOT NULL,
    operator_id text NOT NULL,
    reason text NOT NULL,
    acted_at timestamptz NOT NULL
);
CREATE INDEX rule_audit_of_rule ON rule_audit (rule_version, sequence);
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON rule_audit FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable_truncate BEFORE TRUNCATE ON rule_audit FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Tiers -----------------------------------------------------------------------------------------------------------

-- What charges of the last hours brought and cost, by the minute they were finalized in: a few rows moved per group
-- instead of an hour of the journal read back. What is older than three hours is dropped.
CREATE TABLE tier_minutes (
    minute timestamptz NOT NULL,
    model_tier text NOT NULL,
    revenue_micro numeric(38, 0) NOT NULL,
    provider_cost_micro numeric(38, 0) NOT NULL,
    last_finalized_at timestamptz NOT NULL,
    PRIMARY KEY (minute, model_tier)
) WITH (fillfactor = 50);

CREATE FUNCTION add_tier_minutes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tier_minutes AS minutes (minute, model_tier, revenue_micro, provider_cost_micro, last_finalized_at)
    SELECT date_trunc('minute', finalized_at), model_tier, sum(revenue_micro), sum(provider_cost_micro),
        max(finalized_at)
    FROM charged WHERE finalized_at > recorded_at - interval '2 hours' GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (minute, model_tier) DO UPDATE SET
        revenue_micro = minutes.revenue_micro + excluded.revenue_micro,
        provider_cost_micro = minutes.provider_cost_micro + excluded.provider_cost_micro,
        last_finalized_at = greatest(minutes.last_finalized_at, excluded.last_finalized_at);
    RETURN NULL;
END $$;
CREATE TRIGGER tier_minutes AFTER INSERT ON distributions REFERENCING NEW TABLE AS charged
    FOR EACH STATEMENT EXECUTE FUNCTION add_tier_minutes();

INSERT INTO tier_minutes (minute, model_tier, revenue_micro, provider_cost_micro, last_finalized_at)
SELECT date_trunc('minute', finalized_at), model_tier, sum(revenue_micro), sum(provider_cost_micro), max(finalized_at)
FROM distributions
WHERE recorded_at > (SELECT max(recorded_at) FROM distributions) - interval '3 hours'
    AND finalized_at > recorded_at - interval '2 hours'
GROUP BY 1, 2;

-- Intervals by finalized_at in which referrers earn nothing on a tier. They are loaded with the rules, at one revision.
CREATE TABLE tier_suspensions (
    suspension_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_tier text NOT NULL,
    from_time timestamptz NOT NULL,
    to_time timestamptz,
    margin_bps integer NOT NULL,
    CONSTRAINT tier_suspensions_interval CHECK (to_time > from_time)
);
CREATE UNIQUE INDEX tier_suspensions_one_open ON tier_suspensions (model_tier) WHERE to_time IS NULL;
CREATE INDEX tier_suspensions_of_tier ON tier_suspensions (model_tier, from_time);

CREATE FUNCTION guard_tier_suspension() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF EXISTS (
            SELECT FROM tier_suspensions WHERE model_tier = NEW.model_tier AND (to_time IS NULL OR to_time > NEW.from_time)
        ) THEN
            RAISE EXCEPTION 'tier % is suspended then already', NEW.model_tier USING ERRCODE = 'exclusion_violation';
        END IF;
    ELSIF OLD.to_time IS NOT NULL OR (OLD.suspension_id, OLD.model_tier, OLD.from_time, OLD.margin_bps)
        <> (NEW.suspension_id, NEW.model_tier, NEW.from_time, NEW.margin_bps)
    THEN
        RAISE EXCEPTION 'a suspension ends once, and nothing else of it changes' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guarded BEFORE INSERT OR UPDATE ON tier_suspensions
    FOR EACH ROW EXECUTE FUNCTION guard_tier_suspension();
CREATE TRIGGER kept BEFORE DELETE ON tier_suspensions FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable_truncate BEFORE TRUNCATE ON tier_suspensions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER rules_changed AFTER INSERT OR UPDATE ON tier_suspensions
    FOR EACH STATEMENT EXECUTE FUNCTION count_rules_revision();

-- What if ---------------------------------------------------------------------------------------------------------

-- libs.money.split once more, over a whole period at a time. Whole and fractional ten-thousandths apart: every
-- intermediate value fits 64 bits for amounts up to 10^15.
CREATE FUNCTION share_of(amount bigint, rate_bps integer) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN amount / 10000 * rate_bps + amount % 10000 * rate_bps / 10000;

ANALYZE;

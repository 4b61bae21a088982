-- Erasures: requested → spreading → done. An account is named by its surrogate, which leads to nobody once it spreads.
CREATE TABLE erasures (
    erasure_id uuid PRIMARY KEY,
    account_ref uuid NOT NULL UNIQUE,
    state text NOT NULL DEFAULT 'requested' CHECK (state IN ('requested', 'spreading', 'done')),
    forfeit_consent boolean NOT NULL,
    -- Why it does not go on yet; empty when nothing is in its way.
    waits_for text NOT NULL DEFAULT '',
    requested_at timestamptz NOT NULL,
    next_try_at timestamptz NOT NULL,
    spread_at timestamptz,
    done_at timestamptz,
    CHECK ((state = 'requested') = (spread_at IS NULL)),
    CHECK ((state = 'done') = (done_at IS NOT NULL))
);
CREATE INDEX erasures_to_take_on ON erasures (next_try_at) WHERE state = 'requested';

CREATE TABLE erasure_reports (
    erasure_id uuid NOT NULL REFERENCES erasures,
    service text NOT NULL,
    rows bigint NOT NULL CHECK (rows >= 0),
    erased_at timestamptz NOT NULL,
    PRIMARY KEY (erasure_id, service)
);

CREATE FUNCTION guard_erasure() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.erasure_id, NEW.account_ref, NEW.requested_at) IS DISTINCT FROM
            (OLD.erasure_id, OLD.account_ref, OLD.requested_at)
        OR (NEW.state <> OLD.state
            AND (OLD.state, NEW.state) NOT IN (('requested', 'spreading'), ('spreading', 'done')))
    THEN
        RAISE EXCEPTION 'an erasure does not change like this' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER erasures_guard BEFORE UPDATE ON erasures FOR EACH ROW EXECUTE FUNCTION guard_erasure();
CREATE TRIGGER erasures_stay BEFORE DELETE OR TRUNCATE ON erasures FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Whoever was locking an erased account organic, or tells of its addresses late, writes nothing.
CREATE TRIGGER registrations_not_erased BEFORE INSERT ON referral_registrations
    FOR EACH ROW EXECUTE FUNCTION skip_erased('referee_ref');
CREATE TRIGGER risk_signals_not_erased BEFORE INSERT ON risk_signals
    FOR EACH ROW EXECUTE FUNCTION skip_erased('referee_ref');
CREATE TRIGGER account_addresses_not_erased BEFORE INSERT ON account_addresses
    FOR EACH ROW EXECUTE FUNCTION skip_erased('account_ref');

-- A code that was shared leads to who shared it. An erasure overwrites it, and keeps a salted hash: a code that was once
-- somebody's is never issued again.
CREATE TABLE retired_codes_salt (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    salt text NOT NULL DEFAULT gen_random_uuid()::text || gen_random_uuid()::text
);
INSERT INTO retired_codes_salt DEFAULT VALUES;
CREATE TABLE retired_codes (hash bytea PRIMARY KEY CHECK (length(hash) = 32));

CREATE FUNCTION retired_code_hash(code text) RETURNS bytea LANGUAGE sql STABLE
    RETURN sha256(convert_to((SELECT salt FROM retired_codes_salt) || code, 'UTF8'));

CREATE FUNCTION skip_retired_code() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM retired_codes WHERE hash = retired_code_hash(NEW.code)) THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER codes_not_retired BEFORE INSERT ON codes FOR EACH ROW EXECUTE FUNCTION skip_retired_code();

-- As before, and: an erasure may overwrite the code of one that has ended.
CREATE OR REPLACE FUNCTION guard_code() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce(current_setting('referral.erasing', true), '') = 'on' AND NEW.state <> 'active'
        AND to_jsonb(NEW) - 'code' = to_jsonb(OLD) - 'code'
    THEN
        RETURN NEW;
    END IF;
    IF OLD.state <> 'active'
        OR NEW.uses < OLD.uses
        OR (NEW.code_ref, NEW.code, NEW.owner_ref, NEW.created_at)
            IS DISTINCT FROM (OLD.code_ref, OLD.code, OLD.owner_ref, OLD.created_at)
    THEN
        RAISE EXCEPTION 'a code does not change like this' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$$;

-- An erasure empties what was typed to reach an erased code, whoever typed it.
DROP TRIGGER attribution_log_stays ON referral_attribution_log;
CREATE FUNCTION guard_attempt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce(current_setting('referral.erasing', true), '') <> 'on'
        OR NEW.code_typed <> ''
        OR to_jsonb(NEW) - 'code_typed' <> to_jsonb(OLD) - 'code_typed'
    THEN
        RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER attribution_log_guard BEFORE UPDATE ON referral_attribution_log
    FOR EACH ROW EXECUTE FUNCTION guard_attempt();
CREATE TRIGGER attribution_log_stays BEFORE TRUNCATE ON referral_attribution_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE FUNCTION empty_retired_code() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM retired_codes WHERE hash = retired_code_hash(NEW.code_typed)) THEN
        NEW.code_typed := '';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER attribution_log_not_retired BEFORE INSERT ON referral_attribution_log
    FOR EACH ROW EXECUTE FUNCTION empty_retired_code();
CREATE INDEX referral_attribution_log_of_typed ON referral_attribution_log (code_typed);

-- What retention looks for.
CREATE INDEX referral_registrations_bound ON referral_registrations (created_at) WHERE kind = 'referred';
CREATE INDEX referral_attribution_log_by_age ON referral_attribution_log (attempted_at);

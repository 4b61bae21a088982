-- Outside ids live in `accounts` alone. Everything else names an account by its surrogate, without a foreign key:
-- erasing an account deletes its row here, and what stays elsewhere leads to nobody.
CREATE TABLE accounts (
    account_ref uuid PRIMARY KEY,
    account_id text COLLATE "C" NOT NULL UNIQUE CHECK (account_id ~ '^[ -~]{1,128}$')
);

CREATE TABLE codes (
    code_ref uuid PRIMARY KEY,
    -- Unique over all states: a retired code is never issued again.
    code text COLLATE "C" NOT NULL UNIQUE CHECK (code ~ '^[0-9a-z]{8,12}$'),
    owner_ref uuid NOT NULL,
    state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'expired', 'revoked')),
    uses bigint NOT NULL DEFAULT 0 CHECK (uses >= 0),
    max_uses bigint CHECK (max_uses > 0),
    created_at timestamptz NOT NULL,
    expires_at timestamptz CHECK (expires_at > created_at),
    ended_at timestamptz,
    end_reason text,
    CHECK (uses <= max_uses),
    CHECK ((state = 'active') = (ended_at IS NULL)),
    CHECK ((state = 'active') = (end_reason IS NULL)),
    CHECK (state <> 'expired' OR end_reason IN ('time', 'uses')),
    CHECK (state <> 'revoked' OR end_reason IN ('owner', 'operator')),
    -- A used-up code is not active: the last use ends it in the same statement.
    CHECK (state <> 'active' OR max_uses IS NULL OR uses < max_uses),
    UNIQUE (code_ref, owner_ref)
);
CREATE UNIQUE INDEX codes_one_active_per_owner ON codes (owner_ref) WHERE state = 'active';
CREATE INDEX codes_to_expire ON codes (expires_at) WHERE state = 'active' AND expires_at IS NOT NULL;

-- The one row per account that decides who brought it. created_at is the `registered_at` that starts the window.
CREATE TABLE referral_registrations (
    referee_ref uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('referred', 'organic')),
    referrer_ref uuid,
    code_ref uuid,
    channel text CHECK (channel ~ '^[a-z0-9_-]{1,32}$'),
    created_at timestamptz NOT NULL,
    CHECK ((kind = 'referred') = (referrer_ref IS NOT NULL)),
    CHECK ((kind = 'referred') = (code_ref IS NOT NULL)),
    CHECK (kind = 'referred' OR channel IS NULL),
    CHECK (referrer_ref <> referee_ref),
    -- The referrer is the owner of the code that was used.
    FOREIGN KEY (code_ref, referrer_ref) REFERENCES codes (code_ref, owner_ref)
);
CREATE INDEX referral_registrations_of_referrer ON referral_registrations (referrer_ref, created_at)
    WHERE kind = 'referred';
CREATE INDEX referral_registrations_of_code ON referral_registrations (code_ref, created_at)
    WHERE kind = 'referred';

-- Every attempt to register, refused ones too.
CREATE TABLE referral_attribution_log (
    attempt_id uuid PRIMARY KEY,
    referee_ref uuid NOT NULL,
    -- Lower-cased, cut and made printable; what was typed may be anything.
    code_typed text NOT NULL CHECK (length(code_typed) <= 32),
    -- The code it met; NULL when there is none or it was not looked at.
    code_ref uuid REFERENCES codes (code_ref),
    channel text,
    outcome text NOT NULL CHECK (outcome IN ('bound', 'already_bound', 'refused')),
    reason text,
    attempted_at timestamptz NOT NULL,
    CHECK ((outcome = 'refused') = (reason IS NOT NULL))
);
CREATE INDEX referral_attribution_log_of_referee ON referral_attribution_log (referee_ref, attempted_at);
CREATE INDEX referral_attribution_log_of_code ON referral_attribution_log (code_ref, attempted_at)
    WHERE code_ref IS NOT NULL;

-- No row: good standing, revision 0.
CREATE TABLE standings (
    account_ref uuid PRIMARY KEY,
    standing text NOT NULL CHECK (standing IN ('good', 'warned', 'bonuses_on_hold', 'suspended', 'forfeited')),
    reason text NOT NULL DEFAULT '',
    revision bigint NOT NULL CHECK (revision > 0),
    changed_at timestamptz NOT NULL
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$;

-- Erasure and retention may delete, and say so: SET LOCAL referral.erasing = 'on'.
CREATE FUNCTION refuse_delete_unless_erasing() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce(current_setting('referral.erasing', true), '') <> 'on' THEN
        RAISE EXCEPTION '% is deleted from by erasure and retention only', TG_TABLE_NAME
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN OLD;
END
$$;

-- active → expired | revoked and no way back; uses only grow; what was issued stays as it was issued.
CREATE FUNCTION guard_code() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
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

CREATE TRIGGER codes_guard BEFORE UPDATE ON codes FOR EACH ROW EXECUTE FUNCTION guard_code();
CREATE TRIGGER codes_stay BEFORE DELETE OR TRUNCATE ON codes FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER registrations_stay BEFORE UPDATE OR TRUNCATE ON referral_registrations
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER registrations_erased BEFORE DELETE ON referral_registrations
    FOR EACH ROW EXECUTE FUNCTION refuse_delete_unless_erasing();

CREATE TRIGGER attribution_log_stays BEFORE UPDATE OR TRUNCATE ON referral_attribution_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER attribution_log_erased BEFORE DELETE ON referral_attribution_log
    FOR EACH ROW EXECUTE FUNCTION refuse_delete_unless_erasing();

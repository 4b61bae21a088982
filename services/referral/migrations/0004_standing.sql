ALTER TABLE standings
    ADD COLUMN changed_by text NOT NULL DEFAULT '',
    ADD COLUMN by_hand boolean NOT NULL DEFAULT false,
    -- Registrations up to here were judged by an operator and count no more.
    ADD COLUMN counted_from timestamptz;
CREATE INDEX standings_to_look_at ON standings (account_ref) WHERE standing IN ('warned', 'bonuses_on_hold');

-- Forfeited is for ever, and a revision follows on the one before it.
CREATE FUNCTION guard_standing() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.account_ref <> OLD.account_ref
        OR NEW.revision <> OLD.revision + 1
        OR OLD.standing = 'forfeited'
        OR (NEW.standing = 'forfeited' AND OLD.standing <> 'suspended')
    THEN
        RAISE EXCEPTION 'a standing does not change like this' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER standings_guard BEFORE UPDATE ON standings FOR EACH ROW EXECUTE FUNCTION guard_standing();

-- What distribution is to be told of a standing. The newest revision takes the place of older ones.
CREATE TABLE standing_enforcements (
    account_ref uuid PRIMARY KEY,
    revision bigint NOT NULL CHECK (revision > 0),
    act text NOT NULL CHECK (act IN ('freeze', 'unfreeze', 'forfeit')),
    reason text NOT NULL,
    operator_id text NOT NULL,
    -- Forfeiting is asked again for what came back since: each time is another request.
    round integer NOT NULL DEFAULT 1 CHECK (round > 0),
    tries integer NOT NULL DEFAULT 0,
    decided_at timestamptz NOT NULL,
    -- NULL when nothing is left to be told.
    next_try_at timestamptz,
    answered_at timestamptz,
    forfeited_micro bigint NOT NULL DEFAULT 0 CHECK (forfeited_micro >= 0)
);
CREATE INDEX standing_enforcements_due ON standing_enforcements (next_try_at) WHERE next_try_at IS NOT NULL;

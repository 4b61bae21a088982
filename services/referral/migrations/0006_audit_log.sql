-- Acts of operators and jobs, each chained to the one before it. Accounts are named by surrogate.
CREATE TABLE audit_log (
    sequence bigint PRIMARY KEY CHECK (sequence > 0),
    act text COLLATE "C" NOT NULL CHECK (act ~ '^[A-Z][A-Z0-9_]{1,62}$'),
    subject text NOT NULL CHECK (length(subject) <= 200),
    account_ref uuid,
    operator_id text COLLATE "C" NOT NULL CHECK (operator_id ~ '^[ -~]{1,128}$'),
    reason text NOT NULL CHECK (length(reason) <= 2000),
    acted_at timestamptz NOT NULL,
    hash bytea NOT NULL CHECK (length(hash) = 32)
);
CREATE INDEX audit_log_of_account ON audit_log (account_ref, sequence) WHERE account_ref IS NOT NULL;
CREATE INDEX audit_log_of_operator ON audit_log (operator_id, sequence);

-- One row: the newest sequence and hash. Its lock makes the sequence gapless.
CREATE TABLE audit_head (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    sequence bigint NOT NULL DEFAULT 0 CHECK (sequence >= 0),
    hash bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex') CHECK (length(hash) = 32)
);
INSERT INTO audit_head DEFAULT VALUES;

-- The head moves on by one, together with its row, and never back.
CREATE FUNCTION guard_audit_head() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.sequence <> OLD.sequence + 1
        OR NOT EXISTS (SELECT FROM audit_log WHERE sequence = NEW.sequence AND hash = NEW.hash)
    THEN
        RAISE EXCEPTION 'the head of the audit log does not move like this' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER audit_log_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_head_moves BEFORE UPDATE ON audit_head FOR EACH ROW EXECUTE FUNCTION guard_audit_head();
CREATE TRIGGER audit_head_stays BEFORE DELETE OR TRUNCATE ON audit_head
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Audits of the books: what each found of every invariant, and the rows that break one.

CREATE TABLE audits (
    -- UUIDv7: newest first is by id.
    audit_id uuid PRIMARY KEY,
    -- Numbers of creator.distribution.v1.AuditState: 1 running, 2 passed, 3 violated, 4 failed.
    state smallint NOT NULL DEFAULT 1,
    operator_id text NOT NULL,
    reason text NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    rows_read bigint NOT NULL DEFAULT 0,
    CONSTRAINT audits_state CHECK (state BETWEEN 1 AND 4 AND (ended_at IS NULL) = (state = 1))
);
CREATE UNIQUE INDEX audits_one_at_a_time ON audits (state) WHERE state = 1;
CREATE INDEX audits_ended ON audits (audit_id DESC) WHERE state <> 1;

CREATE TABLE audit_results (
    audit_id uuid NOT NULL REFERENCES audits (audit_id),
    place smallint NOT NULL,
    invariant text NOT NULL,
    violations bigint NOT NULL CHECK (violations >= 0),
    description text NOT NULL,
    PRIMARY KEY (audit_id, place)
);

CREATE TABLE audit_violations (
    audit_id uuid NOT NULL REFERENCES audits (audit_id),
    number integer NOT NULL,
    invariant text NOT NULL,
    table_name text NOT NULL,
    row_key text NOT NULL,
    expected text NOT NULL,
    found text NOT NULL,
    PRIMARY KEY (audit_id, number)
);

CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON audit_results FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON audit_violations FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- Files of scores, line by line, and the snapshots that they became.

CREATE TABLE imports (
    -- UUIDv7: newest first is by id.
    import_id uuid PRIMARY KEY,
    period text NOT NULL,
    -- Numbers of creator.score.v1.ImportState: reading, accepted, awaiting_approval, refused, rejected.
    state smallint NOT NULL DEFAULT 1 CHECK (state BETWEEN 1 AND 5),
    source text NOT NULL,
    operator_id text NOT NULL,
    reason text NOT NULL,
    decimals smallint NOT NULL CHECK (decimals BETWEEN 0 AND 30),
    sha256 bytea,
    bytes bigint NOT NULL DEFAULT 0,
    lines bigint NOT NULL DEFAULT 0,
    bad_lines bigint NOT NULL DEFAULT 0,
    wallets bigint NOT NULL DEFAULT 0,
    total_score numeric(40, 0) NOT NULL DEFAULT 0,
    former_total_score numeric(40, 0),
    decided_by text,
    decision_reason text,
    taken_at timestamptz NOT NULL,
    started_at timestamptz NOT NULL,
    -- Real time: who reads a file and has not moved on for a while is gone.
    moved_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    CHECK (decided_by IS NULL OR decided_by <> operator_id)
) WITH (fillfactor = 70);
CREATE INDEX imports_by_state ON imports (state, import_id);

-- Good lines of a file until it is decided on.
CREATE TABLE import_lines (
    import_id uuid NOT NULL,
    line bigint NOT NULL,
    address bytea NOT NULL,
    score numeric(31, 0) NOT NULL,
    PRIMARY KEY (import_id, line)
);

CREATE TABLE import_errors (
    import_id uuid NOT NULL REFERENCES imports (import_id),
    -- 0: the file as a whole.
    line bigint NOT NULL CHECK (line >= 0),
    reason text NOT NULL,
    text text NOT NULL CHECK (length(text) <= 200),
    PRIMARY KEY (import_id, line)
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is immutable', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TABLE snapshots (
    -- UUIDv7.
    snapshot_id uuid PRIMARY KEY,
    import_id uuid NOT NULL UNIQUE REFERENCES imports (import_id),
    period text NOT NULL,
    wallets bigint NOT NULL,
    total_score numeric(40, 0) NOT NULL,
    taken_at timestamptz NOT NULL,
    accepted_at timestamptz NOT NULL
);
CREATE INDEX snapshots_by_period ON snapshots (period, snapshot_id);
CREATE TRIGGER snapshots_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON snapshots
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE snapshot_scores (
    snapshot_id uuid NOT NULL,
    address bytea NOT NULL CHECK (length(address) = 20),
    score numeric(31, 0) NOT NULL CHECK (score BETWEEN 0 AND 1000000000000000000000000000000),
    PRIMARY KEY (snapshot_id, address)
);
CREATE TRIGGER snapshot_scores_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON snapshot_scores
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- What the scheduled pull saw last: an unchanged file makes no import.
CREATE TABLE pulls (
    url_hash bytea PRIMARY KEY,
    etag text NOT NULL,
    sha256 bytea,
    pulled_at timestamptz NOT NULL
);

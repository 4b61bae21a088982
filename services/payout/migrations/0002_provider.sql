-- What comes from the provider and what is asked of it: steps of the second factor, callbacks, reconciliations.

-- How often a batch was tried to be verified, whether the provider said yes, and when it last said something new.
ALTER TABLE payout_submissions
    ADD COLUMN verify_tries integer NOT NULL DEFAULT 0,
    ADD COLUMN answered boolean NOT NULL DEFAULT false,
    ADD COLUMN heard_at timestamptz,
    ADD COLUMN next_check_at timestamptz,
    ADD COLUMN checks integer NOT NULL DEFAULT 0;
CREATE INDEX payout_submissions_due ON payout_submissions (next_check_at NULLS FIRST) WHERE state IN (1, 2, 3);
CREATE INDEX payout_submissions_by_row ON payout_submissions (provider_payout_id) WHERE provider_payout_id <> '';

-- 30 seconds whose code was used. A code is good for one batch: whoever has the row may use it, whatever replica.
CREATE TABLE totp_steps (
    step bigint PRIMARY KEY,
    unique_external_id text COLLATE "C" NOT NULL,
    used_at timestamptz NOT NULL
);

-- Why nothing is handed to the provider, where something is badly wrong with its account; no row: nothing is.
CREATE TABLE provider_halts (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    reason text NOT NULL CHECK (reason ~ '^[A-Z][A-Z_]{0,63}$'),
    halted_at timestamptz NOT NULL
);

-- Verified callbacks as they came. The body stays here, and goes when it was applied long ago.
CREATE TABLE callbacks (
    -- UUIDv7: newest last.
    callback_id uuid PRIMARY KEY,
    -- Numbers of creator.payout.v1.CallbackKind.
    kind smallint NOT NULL CHECK (kind IN (1, 2)),
    -- Numbers of creator.payout.v1.CallbackState: 1 stored, 2 waiting, 3 applied, 4 ignored.
    state smallint NOT NULL CHECK (state BETWEEN 1 AND 4),
    -- SHA-256 of the canonical body: the same said twice is one callback.
    body_hash bytea NOT NULL CHECK (length(body_hash) = 32),
    raw_body bytea NOT NULL CHECK (length(raw_body) <= 65536),
    provider_id text COLLATE "C" NOT NULL CHECK (length(provider_id) <= 64),
    provider_state text NOT NULL CHECK (length(provider_state) <= 40),
    payout_id uuid,
    tries integer NOT NULL DEFAULT 0,
    -- Not tried before.
    due_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    applied_at timestamptz,
    UNIQUE (kind, body_hash),
    CHECK ((state >= 3) = (applied_at IS NOT NULL))
);
CREATE INDEX callbacks_due ON callbacks (due_at) WHERE state < 3;
CREATE INDEX callbacks_by_state ON callbacks (state, callback_id);

CREATE TABLE reconciliations (
    -- UUIDv7: newest last.
    reconciliation_id uuid PRIMARY KEY,
    -- Numbers of creator.payout.v1.ReconciliationState: 1 running, 2 matched, 3 differs, 4 failed.
    state smallint NOT NULL CHECK (state BETWEEN 1 AND 4),
    payouts bigint NOT NULL DEFAULT 0,
    provider_sent_micro bigint NOT NULL DEFAULT 0,
    ledger_sent_micro bigint NOT NULL DEFAULT 0,
    differences bigint NOT NULL DEFAULT 0,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    CHECK ((state = 1) = (ended_at IS NULL))
);
CREATE INDEX reconciliations_running ON reconciliations (reconciliation_id) WHERE state = 1;

CREATE TABLE differences (
    -- UUIDv7: oldest first.
    difference_id uuid PRIMARY KEY,
    -- Numbers of creator.payout.v1.DifferenceKind.
    kind smallint NOT NULL CHECK (kind BETWEEN 1 AND 5),
    payout_id uuid,
    provider_payout_id text COLLATE "C" NOT NULL DEFAULT '',
    theirs text NOT NULL,
    ours text NOT NULL,
    explanation text NOT NULL CHECK (length(explanation) BETWEEN 1 AND 1000),
    closed_by text NOT NULL DEFAULT '',
    seen_at timestamptz NOT NULL,
    closed_at timestamptz,
    CHECK ((closed_by = '') = (closed_at IS NULL))
);
-- The same difference is told once while it is open.
CREATE UNIQUE INDEX differences_open ON differences
    (kind, coalesce(payout_id, '00000000-0000-0000-0000-000000000000'), provider_payout_id) WHERE closed_at IS NULL;
CREATE INDEX differences_by_closing ON differences (closed_at, difference_id);

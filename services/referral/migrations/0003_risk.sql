-- What sign-ups looked like: keyed hashes and nothing else, with the key that made each. Deleted after 90 days, and by
-- erasure. A hash of a former key is written only where that key made the same one before.
CREATE TABLE risk_signals (
    referee_ref uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('ip', 'prefix', 'user_agent', 'fingerprint')),
    key_id text COLLATE "C" NOT NULL CHECK (key_id ~ '^[0-9a-f]{8}$'),
    hash bytea NOT NULL CHECK (length(hash) = 16),
    registered_at timestamptz NOT NULL,
    PRIMARY KEY (referee_ref, kind, key_id)
);
CREATE INDEX risk_signals_alike ON risk_signals (hash, registered_at);
CREATE INDEX risk_signals_by_age ON risk_signals (registered_at);

-- Versions of the weights. The lists hold one value per signal, in the order of the model: IP_CLUSTER, FINGERPRINT,
-- VELOCITY, NO_PAID_ACTIVITY.
CREATE TABLE risk_weights (
    weights_version integer PRIMARY KEY CHECK (weights_version > 0),
    state text NOT NULL CHECK (state IN ('shadow', 'active', 'retired')),
    caps integer[] NOT NULL CHECK (cardinality(caps) = 4 AND 0 <= ALL (caps) AND 10000 >= ALL (caps)),
    divisors integer[] NOT NULL CHECK (cardinality(divisors) = 4 AND 1 <= ALL (divisors)),
    factors_bps integer[] NOT NULL
        CHECK (cardinality(factors_bps) = 4 AND 0 <= ALL (factors_bps) AND 10000 >= ALL (factors_bps)),
    flagged_from integer NOT NULL CHECK (flagged_from BETWEEN 1 AND 10000),
    urgent_from integer NOT NULL CHECK (urgent_from BETWEEN flagged_from AND 10000),
    proposed_by text NOT NULL,
    reason text NOT NULL,
    proposed_at timestamptz NOT NULL,
    activated_by text,
    activated_at timestamptz,
    CHECK ((activated_by IS NULL) = (activated_at IS NULL)),
    CHECK (state <> 'active' OR activated_at IS NOT NULL),
    CHECK (activated_by <> proposed_by OR weights_version = 1)
);
CREATE UNIQUE INDEX risk_weights_one_active ON risk_weights (state) WHERE state = 'active';
INSERT INTO risk_weights VALUES (
    1, 'active', '{3000, 2500, 2500, 2000}', '{3, 2, 5, 1}', '{10000, 10000, 10000, 8000}', 3000, 7000,
    'design', 'The weights of the launch.', '2026-01-01T00:00:00Z', 'design', '2026-01-01T00:00:00Z'
);

-- What is held against a registration now. A reviewer's verdict outlasts every later score.
CREATE TABLE risk_assessments (
    referee_ref uuid PRIMARY KEY,
    referrer_ref uuid NOT NULL,
    registered_at timestamptz NOT NULL,
    weights_version integer NOT NULL,
    score integer NOT NULL CHECK (score BETWEEN 0 AND 10000),
    flagged boolean NOT NULL,
    -- More speaks against it than the network it came from. A shared network alone is for reviewers to judge, and
    -- sanctions nobody: sanctions make codes refuse, and the same address alone never blocks a registration.
    beyond_network boolean NOT NULL,
    scored_at timestamptz NOT NULL,
    verdict text CHECK (verdict IN ('cleared', 'confirmed')),
    -- When it is looked at again; NULL when it was.
    rescore_at timestamptz,
    -- Whether it counts against its referrer.
    counts boolean NOT NULL GENERATED ALWAYS AS (coalesce(verdict = 'confirmed', flagged AND beyond_network)) STORED
);
CREATE INDEX risk_assessments_counting ON risk_assessments (referrer_ref, registered_at) WHERE counts;
CREATE INDEX risk_assessments_to_rescore ON risk_assessments (rescore_at) WHERE rescore_at IS NOT NULL;

-- Every score with its parts, in the order of the signals; those of shadow versions beside those that decided.
CREATE TABLE risk_scores (
    referee_ref uuid NOT NULL,
    stage text NOT NULL CHECK (stage IN ('registration', 'week', 'hold')),
    weights_version integer NOT NULL REFERENCES risk_weights,
    decides boolean NOT NULL,
    observed bigint[] NOT NULL CHECK (cardinality(observed) = 4),
    points integer[] NOT NULL CHECK (cardinality(points) = 4),
    score integer NOT NULL CHECK (score BETWEEN 0 AND 10000),
    flagged boolean NOT NULL,
    scored_at timestamptz NOT NULL,
    PRIMARY KEY (referee_ref, stage, weights_version)
);
CREATE INDEX risk_scores_of_version ON risk_scores (weights_version, scored_at);

-- Accounts that pass the checks for a time.
CREATE TABLE risk_exemptions (
    account_ref uuid PRIMARY KEY,
    until timestamptz NOT NULL,
    granted_by text NOT NULL,
    granted_at timestamptz NOT NULL
);

-- Which accounts have or had which wallet (told by score) or payout destination (told by payout), by surrogate.
CREATE TABLE account_addresses (
    account_ref uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('wallet', 'destination')),
    address_ref uuid NOT NULL,
    active boolean NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (account_ref, kind, address_ref)
);
CREATE INDEX account_addresses_of ON account_addresses (address_ref);

-- Pairs of accounts that were found to share one, the smaller surrogate first.
CREATE TABLE shared_addresses (
    low_ref uuid NOT NULL,
    high_ref uuid NOT NULL CHECK (high_ref > low_ref),
    kind text NOT NULL CHECK (kind IN ('wallet', 'destination')),
    address_ref uuid NOT NULL,
    found_at timestamptz NOT NULL,
    PRIMARY KEY (low_ref, high_ref, kind, address_ref)
);
CREATE INDEX shared_addresses_of_high ON shared_addresses (high_ref);

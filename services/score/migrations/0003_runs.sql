-- Reward runs: what was frozen, what everybody got, and the tree that proves it.

CREATE TABLE runs (
    -- UUIDv7; also the id of the staged grant at distribution.
    run_id uuid PRIMARY KEY,
    period text NOT NULL,
    -- Numbers of creator.score.v1.RunState: frozen, allocating, staged, committed, aborted.
    state smallint NOT NULL DEFAULT 1 CHECK (state BETWEEN 1 AND 5),
    configured_micro bigint NOT NULL CHECK (configured_micro BETWEEN 1 AND 1000000000000000),
    wallet_minimum numeric(31, 0) NOT NULL,
    account_minimum numeric(40, 0) NOT NULL,
    snapshot_id uuid NOT NULL REFERENCES snapshots (snapshot_id),
    -- Accounts that count, and the sum of their scores.
    accounts bigint NOT NULL,
    total_score numeric(40, 0) NOT NULL,
    -- Let go by an operator or the schedule.
    started boolean NOT NULL DEFAULT false,
    -- From here on distribution may know of it: an abort has to ask there.
    opening boolean NOT NULL DEFAULT false,
    pool_micro bigint NOT NULL DEFAULT 0 CHECK (pool_micro >= 0),
    -- Leaves whose grant is staged, in the order of the tree.
    staged bigint NOT NULL DEFAULT 0,
    root_hash bytea CHECK (length(root_hash) = 32),
    transfer_id text,
    reason text NOT NULL DEFAULT '',
    operator_id text NOT NULL,
    frozen_at timestamptz NOT NULL,
    ended_at timestamptz,
    CONSTRAINT runs_committed CHECK (
        state <> 4 OR (root_hash IS NOT NULL AND transfer_id IS NOT NULL AND ended_at IS NOT NULL AND pool_micro > 0)
    ),
    CONSTRAINT runs_aborted CHECK (state <> 5 OR (reason <> '' AND ended_at IS NOT NULL))
) WITH (fillfactor = 70);
-- One run per period; one that was aborted does not count.
CREATE UNIQUE INDEX runs_one_per_period ON runs (period) WHERE state <> 5;
CREATE INDEX runs_open ON runs (run_id) WHERE state IN (1, 2, 3);

-- frozen → allocating → staged → committed; aborted from any of the first three. What was frozen stays.
CREATE FUNCTION guard_run() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state IN (4, 5)
        OR NEW.state < OLD.state
        OR (NEW.state = 4 AND OLD.state <> 3)
        OR (NEW.run_id, NEW.period, NEW.configured_micro, NEW.wallet_minimum, NEW.account_minimum, NEW.snapshot_id,
            NEW.accounts, NEW.total_score, NEW.frozen_at)
            IS DISTINCT FROM
            (OLD.run_id, OLD.period, OLD.configured_micro, OLD.wallet_minimum, OLD.account_minimum, OLD.snapshot_id,
            OLD.accounts, OLD.total_score, OLD.frozen_at)
        OR (OLD.pool_micro <> 0 AND NEW.pool_micro <> OLD.pool_micro)
        OR (OLD.root_hash IS NOT NULL AND NEW.root_hash IS DISTINCT FROM OLD.root_hash)
        OR NEW.staged < OLD.staged
    THEN
        RAISE EXCEPTION 'run % does not change like this', OLD.run_id USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER runs_guard BEFORE UPDATE ON runs FOR EACH ROW EXECUTE FUNCTION guard_run();
CREATE TRIGGER runs_stay BEFORE DELETE OR TRUNCATE ON runs FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Who did what to a run, and why.
CREATE TABLE run_changes (
    change_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id uuid NOT NULL REFERENCES runs (run_id),
    change text NOT NULL,
    operator_id text NOT NULL,
    reason text NOT NULL,
    changed_at timestamptz NOT NULL
);
CREATE TRIGGER run_changes_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON run_changes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Wallets as they were linked when the run was frozen. Numbers of creator.score.v1.InclusionOutcome.
CREATE TABLE run_wallets (
    run_id uuid NOT NULL,
    account_ref uuid NOT NULL,
    wallet_ref uuid NOT NULL,
    score numeric(31, 0) NOT NULL,
    outcome smallint NOT NULL CHECK (outcome IN (1, 2, 4)),
    PRIMARY KEY (run_id, account_ref, wallet_ref)
);
CREATE TRIGGER run_wallets_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON run_wallets
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE run_accounts (
    run_id uuid NOT NULL,
    account_ref uuid NOT NULL,
    -- Sum of its wallets that count.
    score numeric(40, 0) NOT NULL,
    outcome smallint NOT NULL CHECK (outcome IN (1, 2, 3, 4)),
    PRIMARY KEY (run_id, account_ref)
);
CREATE TRIGGER run_accounts_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON run_accounts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- What each account that counts gets. `leaf` is its place in the tree.
CREATE TABLE run_rewards (
    run_id uuid NOT NULL,
    account_ref uuid NOT NULL,
    score numeric(40, 0) NOT NULL,
    reward_micro bigint NOT NULL CHECK (reward_micro >= 0),
    salt bytea NOT NULL CHECK (length(salt) = 16),
    leaf integer NOT NULL CHECK (leaf >= 0),
    PRIMARY KEY (run_id, account_ref)
);
CREATE UNIQUE INDEX run_rewards_by_leaf ON run_rewards (run_id, leaf);
CREATE INDEX run_rewards_largest ON run_rewards (run_id, reward_micro DESC, account_ref);
CREATE INDEX run_rewards_of_account ON run_rewards (account_ref, run_id);
CREATE TRIGGER run_rewards_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON run_rewards
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The tree, level 0 being the leaves.
CREATE TABLE run_nodes (
    run_id uuid NOT NULL,
    level smallint NOT NULL,
    position integer NOT NULL,
    hash bytea NOT NULL CHECK (length(hash) = 32),
    sum_micro bigint NOT NULL CHECK (sum_micro >= 0),
    PRIMARY KEY (run_id, level, position)
);
CREATE TRIGGER run_nodes_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON run_nodes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Wallets, and the challenges by which they are linked.

-- Own copy of what referral knows: the only place where an account id meets its surrogate here. Erasure deletes the row.
CREATE TABLE accounts (
    account_id text COLLATE "C" PRIMARY KEY CHECK (length(account_id) BETWEEN 1 AND 128),
    account_ref uuid NOT NULL UNIQUE
);

-- A text to sign, good for one try. Rows are dropped a day after they expired.
CREATE TABLE challenges (
    nonce bytea PRIMARY KEY CHECK (length(nonce) = 16),
    account_ref uuid NOT NULL,
    address bytea NOT NULL CHECK (length(address) = 20),
    chain_id bigint NOT NULL,
    issued_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL CHECK (expires_at > issued_at),
    used_at timestamptz,
    -- Whether the try succeeded.
    accepted boolean,
    CHECK ((used_at IS NULL) = (accepted IS NULL))
);
CREATE INDEX challenges_of_account ON challenges (account_ref, issued_at);
CREATE INDEX challenges_by_expiry ON challenges (expires_at);

-- One row per address, on whatever chain: it belongs to one account, and after that to nobody for a while.
CREATE TABLE wallets (
    wallet_ref uuid PRIMARY KEY,
    address bytea NOT NULL UNIQUE CHECK (length(address) = 20),
    -- Whose it is, or was last.
    account_ref uuid NOT NULL,
    chain_id bigint NOT NULL,
    -- Numbers of creator.score.v1.WalletState.
    state smallint NOT NULL CHECK (state IN (1, 2)),
    -- The challenge that linked it: the same call again is recognized by it.
    nonce bytea NOT NULL,
    linked_at timestamptz NOT NULL,
    unlinked_at timestamptz,
    revision bigint NOT NULL CHECK (revision > 0),
    CHECK ((state = 2) = (unlinked_at IS NOT NULL))
) WITH (fillfactor = 80);
CREATE INDEX wallets_of_account ON wallets (account_ref) WHERE state = 1;

-- Payouts, what happened to them, the attempts to send them; where they go; quotes, approvals, proposals.

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is immutable: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END $$;

-- Accounts --------------------------------------------------------------------------------------------------------

-- Own copy of what referral knows: the only place where an account id meets its surrogate here. Erasure deletes the row.
CREATE TABLE accounts (
    account_id text COLLATE "C" PRIMARY KEY CHECK (length(account_id) BETWEEN 1 AND 128),
    account_ref uuid NOT NULL UNIQUE
);
CREATE TRIGGER accounts_not_erased BEFORE INSERT ON accounts
    FOR EACH ROW EXECUTE FUNCTION skip_erased('account_ref');

-- What referral last told of an account; an older revision changes nothing.
CREATE TABLE standings (
    account_ref uuid PRIMARY KEY,
    -- Numbers of creator.referral.v1.Standing.
    standing smallint NOT NULL CHECK (standing >= 1),
    revision bigint NOT NULL CHECK (revision >= 0),
    changed_at timestamptz NOT NULL
);

-- Destinations ----------------------------------------------------------------------------------------------------

-- Where an account is paid at. Address and memo are personal: erasure deletes the row, payouts keep its id, which then
-- leads to nothing.
CREATE TABLE destinations (
    -- UUIDv7: newest last.
    destination_id uuid PRIMARY KEY,
    account_ref uuid NOT NULL,
    currency text COLLATE "C" NOT NULL CHECK (currency ~ '^[a-z0-9]{2,32}$'),
    -- In its one spelling; with the memo it is what is paid.
    address text COLLATE "C" NOT NULL CHECK (length(address) BETWEEN 1 AND 128),
    memo text COLLATE "C" NOT NULL DEFAULT '' CHECK (length(memo) <= 128),
    -- Keyed hash of the address alone: the same for every account that uses it.
    address_ref uuid NOT NULL,
    -- Numbers of creator.payout.v1.DestinationState: 1 new, 2 confirmed, 3 removed, 4 blocked.
    state smallint NOT NULL CHECK (state BETWEEN 1 AND 4),
    added_at timestamptz NOT NULL,
    confirmed_at timestamptz,
    usable_from timestamptz,
    CHECK (state <> 2 OR (confirmed_at IS NOT NULL AND usable_from IS NOT NULL)),
    UNIQUE (account_ref, currency, address, memo)
);
CREATE INDEX destinations_by_address ON destinations (address_ref);
CREATE INDEX destinations_of_account ON destinations (account_ref, destination_id);
CREATE TRIGGER destinations_not_erased BEFORE INSERT ON destinations
    FOR EACH ROW EXECUTE FUNCTION skip_erased('account_ref');

-- Prices and quotes -----------------------------------------------------------------------------------------------

-- What the provider said of a currency when it was last asked, so that a request asks nobody.
CREATE TABLE prices (
    currency text COLLATE "C" PRIMARY KEY,
    -- In units of the currency.
    units_per_usd numeric NOT NULL CHECK (units_per_usd > 0),
    fee_units numeric NOT NULL CHECK (fee_units >= 0),
    minimum_units numeric NOT NULL CHECK (minimum_units >= 0),
    asked_at timestamptz NOT NULL
);

CREATE TABLE quotes (
    quote_id uuid PRIMARY KEY,
    account_ref uuid NOT NULL,
    currency text COLLATE "C" NOT NULL,
    amount_micro bigint NOT NULL CHECK (amount_micro BETWEEN 1 AND 1000000000000000),
    fee_micro bigint NOT NULL CHECK (fee_micro >= 0 AND fee_micro < amount_micro),
    net_amount numeric NOT NULL CHECK (net_amount > 0),
    quoted_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL CHECK (expires_at > quoted_at)
);
CREATE INDEX quotes_by_expiry ON quotes (expires_at);

-- An operator's leave to ask again within 24 hours, once.
CREATE TABLE early_requests (
    permission_id uuid PRIMARY KEY,
    account_ref uuid NOT NULL,
    operator_id text NOT NULL CHECK (length(operator_id) BETWEEN 1 AND 128),
    reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
    granted_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL CHECK (expires_at > granted_at),
    used_by uuid UNIQUE
);
CREATE INDEX early_requests_unused ON early_requests (account_ref, expires_at) WHERE used_by IS NULL;

-- Payouts ---------------------------------------------------------------------------------------------------------

CREATE TABLE payouts (
    -- UUIDv7: newest last.
    payout_id uuid PRIMARY KEY,
    account_ref uuid NOT NULL,
    -- No foreign key: erasure deletes the destination and leaves the payout.
    destination_id uuid NOT NULL,
    currency text COLLATE "C" NOT NULL,
    amount_micro bigint NOT NULL CHECK (amount_micro BETWEEN 1 AND 1000000000000000),
    -- The quote's until fee_final; with what was sent it is the amount.
    fee_micro bigint NOT NULL CHECK (fee_micro >= 0 AND fee_micro < amount_micro),
    fee_final boolean NOT NULL DEFAULT false,
    -- About what arrives, in units of the currency, as quoted; quoted again where its turn comes after that.
    net_amount numeric NOT NULL CHECK (net_amount > 0),
    quoted_until timestamptz NOT NULL,
    -- Numbers of creator.payout.v1.PayoutStage.
    stage smallint NOT NULL CHECK (stage BETWEEN 1 AND 13),
    -- Coded; empty where there is none.
    reason text NOT NULL DEFAULT '' CHECK (reason ~ '^([A-Z][A-Z0-9_]{0,63})?$'),
    -- Who changed it last: "owner", "operator:<id>", "job:<name>".
    actor text NOT NULL CHECK (length(actor) BETWEEN 1 AND 140),
    round integer NOT NULL DEFAULT 1 CHECK (round >= 1),
    revision bigint NOT NULL DEFAULT 1 CHECK (revision >= 1),
    -- What is known of this round's money: 1 asked, 2 held, 3 burned, 4 closed. `held`: it was held at some time.
    money smallint NOT NULL DEFAULT 1 CHECK (money BETWEEN 1 AND 4),
    held boolean NOT NULL DEFAULT false,
    -- Sent by hand: never handed to the provider.
    manual boolean NOT NULL DEFAULT false,
    needs_confirmation boolean NOT NULL,
    confirmed_at timestamptz,
    approvals_needed smallint NOT NULL CHECK (approvals_needed BETWEEN 0 AND 2),
    approval_reasons text[] NOT NULL DEFAULT '{}' CHECK (cardinality(approval_reasons) <= 10),
    cumulative_micro bigint NOT NULL CHECK (cumulative_micro >= amount_micro),
    approved_at timestamptz,
    -- Not handed over before.
    due_at timestamptz NOT NULL,
    -- How often something refused it that may pass.
    tries integer NOT NULL DEFAULT 0 CHECK (tries >= 0),
    sent_amount numeric CHECK (sent_amount >= 0),
    transaction_hash text NOT NULL DEFAULT '' CHECK (length(transaction_hash) <= 500),
    -- One request opens one payout.
    request_id text COLLATE "C" NOT NULL UNIQUE,
    fingerprint bytea NOT NULL,
    requested_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    -- Money that is not held does not wait for its turn, and none that is not burned is with the provider.
    CONSTRAINT payouts_money CHECK (
        CASE stage
            WHEN 1 THEN money IN (1, 4)
            WHEN 2 THEN money = 2
            WHEN 3 THEN money = 2
            WHEN 4 THEN money = 2
            WHEN 5 THEN money IN (2, 3)
            WHEN 6 THEN money = 3
            WHEN 7 THEN money = 3
            WHEN 8 THEN money = 3
            WHEN 9 THEN money = 3
            WHEN 10 THEN money IN (3, 4)
            ELSE true
        END
    ),
    CONSTRAINT payouts_confirmed CHECK (stage NOT IN (3, 4, 5) OR NOT needs_confirmation OR confirmed_at IS NOT NULL),
    CONSTRAINT payouts_approved CHECK (stage NOT IN (4, 5) OR approvals_needed = 0 OR approved_at IS NOT NULL)
) WITH (fillfactor = 80);
CREATE INDEX payouts_of_account ON payouts (account_ref, payout_id);
CREATE INDEX payouts_by_change ON payouts (changed_at, payout_id);
CREATE INDEX payouts_open ON payouts (stage, due_at) WHERE stage < 10;
CREATE INDEX payouts_unsettled ON payouts (changed_at) WHERE stage >= 10 AND money <> 4;
CREATE INDEX payouts_by_destination ON payouts (destination_id);

-- The machine. A payout changes by one legal move, which counts its revision up, or keeps its stage and revision.
CREATE FUNCTION guard_payout() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF (NEW.stage, NEW.revision, NEW.round, NEW.money) <> (1, 1, 1, 1) OR NEW.held OR NEW.manual THEN
            RAISE EXCEPTION 'a payout begins as requested' USING ERRCODE = 'check_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF (NEW.payout_id, NEW.account_ref, NEW.destination_id, NEW.currency, NEW.amount_micro, NEW.request_id,
        NEW.fingerprint, NEW.requested_at)
        IS DISTINCT FROM (OLD.payout_id, OLD.account_ref, OLD.destination_id, OLD.currency, OLD.amount_micro,
        OLD.request_id, OLD.fingerprint, OLD.requested_at) THEN
        RAISE EXCEPTION 'what was asked for does not change' USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.stage = OLD.stage THEN
        IF (NEW.revision, NEW.round) <> (OLD.revision, OLD.round) OR NEW.money < OLD.money THEN
            RAISE EXCEPTION 'payout %: nothing happened to it', OLD.payout_id USING ERRCODE = 'check_violation';
        END IF;
    ELSIF NEW.revision <> OLD.revision + 1 OR (OLD.stage, NEW.stage) NOT IN (
        (1, 2), (1, 3), (1, 4), (1, 11), (1, 12),
        (2, 3), (2, 4), (2, 12),
        (3, 4), (3, 12), (3, 13),
        (4, 5), (4, 12),
        (5, 4), (5, 6), (5, 7), (5, 8),
        (6, 7), (6, 9), (6, 10), (6, 11),
        (7, 5), (7, 6), (7, 11),
        (8, 6), (8, 7), (8, 9), (8, 10), (8, 11),
        (9, 10), (9, 11),
        (11, 1)
    ) THEN
        RAISE EXCEPTION 'payout %: % does not become %', OLD.payout_id, OLD.stage, NEW.stage
            USING ERRCODE = 'check_violation', CONSTRAINT = 'payouts_machine';
    END IF;
    -- What is burned is not put back, another round begins when the former's money is settled, and what was refused is
    -- only taken up again by another attempt or by hand.
    IF (OLD.stage = 5 AND NEW.stage = 4 AND NEW.money <> 2)
        OR (OLD.stage = 11 AND NEW.stage = 1
            AND (OLD.money <> 4 OR NEW.money <> 1 OR NEW.held OR NEW.round <> OLD.round + OLD.held::integer))
        OR (OLD.stage <> 11 AND (NEW.round <> OLD.round OR NEW.money < OLD.money OR (OLD.held AND NOT NEW.held)))
        OR (OLD.stage = 7 AND NEW.stage = 6 AND NOT NEW.manual)
        OR (OLD.stage = 7 AND NEW.stage = 5 AND NEW.manual)
        OR (OLD.fee_final AND (NOT NEW.fee_final OR NEW.fee_micro <> OLD.fee_micro)) THEN
        RAISE EXCEPTION 'payout %: not from stage % with money % to % with %', OLD.payout_id, OLD.stage, OLD.money,
            NEW.stage, NEW.money USING ERRCODE = 'check_violation', CONSTRAINT = 'payouts_machine';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guarded BEFORE INSERT OR UPDATE ON payouts FOR EACH ROW EXECUTE FUNCTION guard_payout();
CREATE TRIGGER kept BEFORE DELETE ON payouts FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable_truncate BEFORE TRUNCATE ON payouts FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Every change of every payout, for ever. Written by the table itself, so that none is missing.
CREATE TABLE payout_changes (
    payout_id uuid NOT NULL REFERENCES payouts (payout_id),
    revision bigint NOT NULL,
    stage smallint NOT NULL,
    reason text NOT NULL,
    round integer NOT NULL,
    actor text NOT NULL,
    fee_micro bigint NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (payout_id, revision)
);
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON payout_changes FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable_truncate BEFORE TRUNCATE ON payout_changes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE FUNCTION note_payout() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO payout_changes (payout_id, revision, stage, reason, round, actor, fee_micro, changed_at)
    VALUES (NEW.payout_id, NEW.revision, NEW.stage, NEW.reason, NEW.round, NEW.actor, NEW.fee_micro, NEW.changed_at);
    RETURN NULL;
END $$;
CREATE TRIGGER noted_first AFTER INSERT ON payouts FOR EACH ROW EXECUTE FUNCTION note_payout();
CREATE TRIGGER noted AFTER UPDATE ON payouts FOR EACH ROW WHEN (NEW.revision <> OLD.revision)
    EXECUTE FUNCTION note_payout();

-- A text for the destination's wallet to sign; a fresh one takes its place. Personal: it names the address.
CREATE TABLE confirmations (
    payout_id uuid PRIMARY KEY REFERENCES payouts (payout_id),
    account_ref uuid NOT NULL,
    -- Numbers of creator.payout.v1.ConfirmationMethod: 1 signature, 2 typed again.
    method smallint NOT NULL CHECK (method IN (1, 2)),
    -- Empty where nothing is signed.
    text text NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE TRIGGER confirmations_not_erased BEFORE INSERT ON confirmations
    FOR EACH ROW EXECUTE FUNCTION skip_erased('account_ref');

-- Attempts --------------------------------------------------------------------------------------------------------

CREATE TABLE payout_submissions (
    payout_id uuid NOT NULL REFERENCES payouts (payout_id),
    attempt integer NOT NULL CHECK (attempt >= 1),
    round integer NOT NULL CHECK (round >= 1),
    -- Payout and attempt, as the provider knows them.
    unique_external_id text COLLATE "C" NOT NULL UNIQUE CHECK (unique_external_id ~ '^[A-Za-z0-9-]{1,40}$'),
    -- 1 prepared, 2 created, 3 verified or about to be, 4 finished, 5 rejected, 6 cancelled, 7 refused, 8 written off.
    state smallint NOT NULL CHECK (state BETWEEN 1 AND 8),
    amount numeric NOT NULL CHECK (amount > 0),
    batch_id text COLLATE "C" NOT NULL DEFAULT '',
    provider_payout_id text COLLATE "C" NOT NULL DEFAULT '',
    provider_state text NOT NULL DEFAULT '',
    fee numeric CHECK (fee >= 0),
    transaction_hash text NOT NULL DEFAULT '' CHECK (length(transaction_hash) <= 500),
    prepared_at timestamptz NOT NULL,
    created_at timestamptz,
    -- Set before the call that verifies it: from then on money may move.
    verified_at timestamptz,
    checked_at timestamptz,
    closed_at timestamptz,
    -- What it was written off by.
    proposal_id uuid,
    PRIMARY KEY (payout_id, attempt),
    -- Its batch is known before it is verified.
    CONSTRAINT payout_submissions_created CHECK (state NOT IN (2, 3, 4) OR (batch_id <> '' AND created_at IS NOT NULL)),
    CONSTRAINT payout_submissions_verified CHECK (state NOT IN (3, 4) OR verified_at IS NOT NULL),
    CONSTRAINT payout_submissions_refused CHECK (state <> 7 OR verified_at IS NULL),
    CONSTRAINT payout_submissions_closed CHECK ((state >= 4) = (closed_at IS NOT NULL)),
    CONSTRAINT payout_submissions_written_off CHECK ((state = 8) = (proposal_id IS NOT NULL))
) WITH (fillfactor = 80);
-- What protects the money: one attempt of a payout at a time, and none after one was sent. The next is not even prepared
-- before the former is known to be nothing.
CREATE UNIQUE INDEX payout_submissions_one_at_a_time ON payout_submissions (payout_id) WHERE state IN (1, 2, 3, 4);
CREATE UNIQUE INDEX payout_submissions_by_batch ON payout_submissions (batch_id) WHERE batch_id <> '';
CREATE INDEX payout_submissions_live ON payout_submissions (checked_at NULLS FIRST) WHERE state IN (1, 2, 3);

CREATE FUNCTION guard_submission() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    payout payouts;
BEGIN
    IF TG_OP = 'INSERT' THEN
        -- Locked, so that it is not decided meanwhile that it is sent by hand.
        SELECT * INTO payout FROM payouts WHERE payout_id = NEW.payout_id FOR UPDATE;
        IF NEW.state <> 1 OR payout.stage <> 5 OR payout.money <> 3 OR payout.manual OR payout.round <> NEW.round THEN
            RAISE EXCEPTION 'payout % is not being handed over', NEW.payout_id USING ERRCODE = 'check_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF (NEW.payout_id, NEW.attempt, NEW.round, NEW.unique_external_id, NEW.amount, NEW.prepared_at)
        IS DISTINCT FROM (OLD.payout_id, OLD.attempt, OLD.round, OLD.unique_external_id, OLD.amount, OLD.prepared_at)
        OR (OLD.batch_id <> '' AND NEW.batch_id <> OLD.batch_id)
        OR (OLD.provider_payout_id <> '' AND NEW.provider_payout_id <> OLD.provider_payout_id)
        OR (OLD.verified_at IS NOT NULL AND NEW.verified_at IS DISTINCT FROM OLD.verified_at)
        OR (OLD.state <> NEW.state AND (OLD.state, NEW.state) NOT IN (
            (1, 2), (1, 7), (1, 8), (2, 3), (2, 5), (2, 6), (2, 8), (3, 4), (3, 5), (3, 6), (3, 8)
        )) THEN
        RAISE EXCEPTION 'attempt % in state % does not become this', OLD.unique_external_id, OLD.state
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guarded BEFORE INSERT OR UPDATE ON payout_submissions
    FOR EACH ROW EXECUTE FUNCTION guard_submission();
CREATE TRIGGER kept BEFORE DELETE ON payout_submissions FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable_truncate BEFORE TRUNCATE ON payout_submissions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- By hand only what the provider surely does not have, and given back or asked for again only what it will not send.
CREATE FUNCTION guard_attempts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM payout_submissions WHERE payout_id = NEW.payout_id AND state IN (1, 2, 3, 4)) THEN
        RAISE EXCEPTION 'payout % may be with the provider', NEW.payout_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'payouts_attempts';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER attempts_over BEFORE UPDATE ON payouts FOR EACH ROW
    WHEN ((NEW.manual AND NOT OLD.manual) OR (NEW.stage IN (4, 7, 11) AND NEW.stage <> OLD.stage))
    EXECUTE FUNCTION guard_attempts();

-- Operators -------------------------------------------------------------------------------------------------------

CREATE TABLE approvals (
    payout_id uuid NOT NULL REFERENCES payouts (payout_id),
    round integer NOT NULL,
    operator_id text NOT NULL CHECK (length(operator_id) BETWEEN 1 AND 128),
    reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
    approved_at timestamptz NOT NULL,
    PRIMARY KEY (payout_id, round, operator_id)
);
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON approvals FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable_truncate BEFORE TRUNCATE ON approvals FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- What else operators ordered, and why.
CREATE TABLE orders (
    order_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payout_id uuid REFERENCES payouts (payout_id),
    what text NOT NULL CHECK (what ~ '^[A-Z][A-Z_]{0,63}$'),
    operator_id text NOT NULL CHECK (length(operator_id) BETWEEN 1 AND 128),
    reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
    ordered_at timestamptz NOT NULL
);
CREATE INDEX orders_of_payout ON orders (payout_id);
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable_truncate BEFORE TRUNCATE ON orders FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE proposals (
    -- UUIDv7: newest last.
    proposal_id uuid PRIMARY KEY,
    payout_id uuid NOT NULL REFERENCES payouts (payout_id),
    -- Numbers of creator.payout.v1.ProposalKind: 1 it was sent, 2 it was not, 3 send it by hand.
    kind smallint NOT NULL CHECK (kind BETWEEN 1 AND 3),
    -- Numbers of creator.payout.v1.ProposalState: 1 open, 2 approved, 3 recorded, 4 dropped.
    state smallint NOT NULL CHECK (state BETWEEN 1 AND 4),
    proof text NOT NULL DEFAULT '' CHECK (length(proof) <= 500),
    sent_micro bigint NOT NULL DEFAULT 0 CHECK (sent_micro >= 0),
    fee_micro bigint NOT NULL DEFAULT 0 CHECK (fee_micro >= 0),
    proposed_by text NOT NULL CHECK (length(proposed_by) BETWEEN 1 AND 128),
    reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
    proposed_at timestamptz NOT NULL,
    decided_by text CHECK (length(decided_by) BETWEEN 1 AND 128),
    decision_reason text CHECK (length(decision_reason) BETWEEN 1 AND 1000),
    decided_at timestamptz,
    recorded_by text CHECK (length(recorded_by) BETWEEN 1 AND 128),
    recorded_reason text CHECK (length(recorded_reason) BETWEEN 1 AND 1000),
    recorded_at timestamptz,
    CONSTRAINT proposals_four_eyes CHECK (state NOT IN (2, 3) OR decided_by <> proposed_by),
    CONSTRAINT proposals_decided CHECK (
        num_nulls(decided_by, decision_reason, decided_at) = CASE state WHEN 1 THEN 3 ELSE 0 END
    ),
    CONSTRAINT proposals_recorded CHECK (
        num_nulls(recorded_by, recorded_reason, recorded_at) = CASE state WHEN 3 THEN 0 ELSE 3 END
        AND (state <> 3 OR (kind = 3 AND proof <> '' AND sent_micro > 0))
    )
);
-- A payout is argued about once at a time; a manual payout under way keeps every other idea away.
CREATE UNIQUE INDEX proposals_one_at_a_time ON proposals (payout_id) WHERE state = 1;
CREATE INDEX proposals_of_payout ON proposals (payout_id, proposal_id);
CREATE INDEX proposals_by_state ON proposals (state, proposal_id);

CREATE FUNCTION guard_proposal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.payout_id, NEW.kind, NEW.proposed_by, NEW.reason, NEW.proposed_at)
        IS DISTINCT FROM (OLD.payout_id, OLD.kind, OLD.proposed_by, OLD.reason, OLD.proposed_at)
        OR (OLD.state, NEW.state) NOT IN ((1, 2), (1, 4), (2, 3)) THEN
        RAISE EXCEPTION 'a proposal in state % does not become this', OLD.state USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guarded BEFORE UPDATE ON proposals FOR EACH ROW EXECUTE FUNCTION guard_proposal();
CREATE TRIGGER kept BEFORE DELETE ON proposals FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable_truncate BEFORE TRUNCATE ON proposals FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

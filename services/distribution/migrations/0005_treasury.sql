-- The money side of payouts, changes of the reserve, the payouts switch; and books that can be read by time.

-- Payout holds ----------------------------------------------------------------------------------------------------

-- One row per round of a payout. held (1) → returned (2) | burned (3); burned → completed (4) | failed (5).
CREATE TABLE payout_holds (
    payout_id uuid NOT NULL,
    round integer NOT NULL CHECK (round >= 1),
    creator_ref uuid NOT NULL,
    amount_micro bigint NOT NULL CHECK (amount_micro BETWEEN 1 AND 1000000000000000),
    -- Numbers of creator.distribution.v1.PayoutHoldState.
    state smallint NOT NULL CHECK (state BETWEEN 1 AND 5),
    sent_micro bigint NOT NULL DEFAULT 0,
    fee_micro bigint NOT NULL DEFAULT 0,
    held_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (payout_id, round),
    CONSTRAINT payout_holds_sent CHECK (
        CASE WHEN state = 4 THEN sent_micro > 0 AND fee_micro >= 0 AND sent_micro + fee_micro = amount_micro
            ELSE sent_micro = 0 AND fee_micro = 0 END
    )
);
-- A payout has the money of one round at a time, and none after it was sent.
CREATE UNIQUE INDEX payout_holds_one_at_a_time ON payout_holds (payout_id) WHERE state IN (1, 3, 4);
CREATE INDEX payout_holds_by_change ON payout_holds (changed_at, payout_id, round);

CREATE FUNCTION guard_payout_hold() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.state <> 1 THEN
            RAISE EXCEPTION 'a hold begins as held' USING ERRCODE = 'check_violation';
        END IF;
    ELSIF (NEW.payout_id, NEW.round, NEW.creator_ref, NEW.amount_micro, NEW.held_at)
        IS DISTINCT FROM (OLD.payout_id, OLD.round, OLD.creator_ref, OLD.amount_micro, OLD.held_at)
        OR (OLD.state, NEW.state) NOT IN ((1, 2), (1, 3), (3, 4), (3, 5)) THEN
        RAISE EXCEPTION 'a hold in state % does not become this', OLD.state USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guarded BEFORE INSERT OR UPDATE ON payout_holds FOR EACH ROW EXECUTE FUNCTION guard_payout_hold();
CREATE TRIGGER kept BEFORE DELETE ON payout_holds FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable_truncate BEFORE TRUNCATE ON payout_holds
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Every state that a hold ever was in, with the transfer that made it so: a state is entered once.
CREATE TABLE payout_hold_states (
    payout_id uuid NOT NULL,
    round integer NOT NULL,
    state smallint NOT NULL,
    transfer_id uuid NOT NULL UNIQUE REFERENCES transfers (transfer_id),
    -- Coded, as the caller gave it; empty where the call has none.
    reason text NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (payout_id, round, state),
    FOREIGN KEY (payout_id, round) REFERENCES payout_holds (payout_id, round)
);
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON payout_hold_states FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable_truncate BEFORE TRUNCATE ON payout_hold_states
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Reserve ---------------------------------------------------------------------------------------------------------

CREATE TABLE reserve_changes (
    -- UUIDv7: newest last.
    reserve_change_id uuid PRIMARY KEY,
    -- Numbers of creator.distribution.v1.ReserveDirection: 1 top-up, 2 withdrawal.
    direction smallint NOT NULL CHECK (direction IN (1, 2)),
    amount_micro bigint NOT NULL CHECK (amount_micro BETWEEN 1 AND 1000000000000000),
    -- Numbers of creator.distribution.v1.ReserveChangeState: 1 requested, 2 approved, 3 rejected.
    state smallint NOT NULL DEFAULT 1 CHECK (state BETWEEN 1 AND 3),
    requested_by text NOT NULL,
    decided_by text,
    reason text NOT NULL,
    decision_reason text,
    transfer_id uuid UNIQUE REFERENCES transfers (transfer_id),
    requested_at timestamptz NOT NULL,
    decided_at timestamptz,
    CONSTRAINT reserve_changes_four_eyes CHECK (state <> 2 OR decided_by <> requested_by),
    CONSTRAINT reserve_changes_decided CHECK (
        num_nulls(decided_by, decision_reason, decided_at) = CASE state WHEN 1 THEN 3 ELSE 0 END
        AND (transfer_id IS NOT NULL) = (state = 2)
    )
);
CREATE INDEX reserve_changes_by_state ON reserve_changes (state, reserve_change_id);

CREATE FUNCTION guard_reserve_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state <> 1 OR NEW.state = 1
        OR (NEW.reserve_change_id, NEW.direction, NEW.amount_micro, NEW.requested_by, NEW.reason, NEW.requested_at)
        IS DISTINCT FROM
        (OLD.reserve_change_id, OLD.direction, OLD.amount_micro, OLD.requested_by, OLD.reason, OLD.requested_at) THEN
        RAISE EXCEPTION 'a reserve change is decided once' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guarded BEFORE UPDATE ON reserve_changes FOR EACH ROW EXECUTE FUNCTION guard_reserve_change();
CREATE TRIGGER kept BEFORE DELETE ON reserve_changes FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable_truncate BEFORE TRUNCATE ON reserve_changes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Whether payouts are held and burned. `reserve_wrong`: an audit found the reserve wrong, and nobody resumes before
-- another one finds it right.
CREATE TABLE payouts_switch (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    paused boolean NOT NULL DEFAULT false,
    operator_id text NOT NULL DEFAULT '',
    reason text NOT NULL DEFAULT '',
    changed_at timestamptz,
    reserve_wrong boolean NOT NULL DEFAULT false,
    CONSTRAINT payouts_switch_wrong CHECK (paused OR NOT reserve_wrong)
);
INSERT INTO payouts_switch DEFAULT VALUES;

CREATE TABLE payouts_switch_changes (
    change_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    paused boolean NOT NULL,
    operator_id text NOT NULL,
    reason text NOT NULL,
    changed_at timestamptz NOT NULL,
    reserve_wrong boolean NOT NULL
);
CREATE FUNCTION keep_switch_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO payouts_switch_changes (paused, operator_id, reason, changed_at, reserve_wrong)
    VALUES (NEW.paused, NEW.operator_id, NEW.reason, NEW.changed_at, NEW.reserve_wrong);
    RETURN NULL;
END $$;
CREATE TRIGGER history AFTER UPDATE ON payouts_switch FOR EACH ROW EXECUTE FUNCTION keep_switch_change();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON payouts_switch_changes
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable_truncate BEFORE TRUNCATE ON payouts_switch_changes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Books by time ---------------------------------------------------------------------------------------------------

-- All charges in order of recording: an index that grows at its end only, and holds a group's instant once. One charge by
-- its distribution's id, which is looked up by people only. None by creator: it would be written in as many places as a
-- group has creators, and cost each group a sixth of its time; hours that are over are indexed below instead.
CREATE INDEX distributions_by_time ON distributions (recorded_at);
CREATE INDEX distributions_by_id ON distributions USING brin (distribution_id) WITH (autosummarize = on);

CREATE INDEX transfers_by_time ON transfers (recorded_at);

-- Entries say themselves when and what they are: an account's are read in order of recording, without their transfers.
ALTER TABLE transfer_entries ADD COLUMN kind smallint, ADD COLUMN recorded_at timestamptz;
ALTER TABLE transfer_entries DISABLE TRIGGER immutable;
UPDATE transfer_entries AS entry SET kind = transfers.kind, recorded_at = transfers.recorded_at
FROM transfers WHERE transfers.transfer_id = entry.transfer_id;
ALTER TABLE transfer_entries ENABLE TRIGGER immutable;
ALTER TABLE transfer_entries
    ALTER COLUMN kind SET NOT NULL,
    ALTER COLUMN recorded_at SET NOT NULL,
    DROP CONSTRAINT transfer_entries_pkey,
    ADD PRIMARY KEY (account_id, recorded_at, transfer_id);

-- Hours that nothing is written into any more, and those that are summed up. `fenced_at`: transactions before it may
-- have been written by the former fence.
CREATE TABLE closed_hours (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    fenced_until timestamptz NOT NULL,
    fenced_at xid8,
    summed_until timestamptz NOT NULL,
    CHECK (summed_until <= fenced_until)
);
INSERT INTO closed_hours (fenced_until, summed_until) VALUES ('0001-01-01 00:00:00+00', '0001-01-01 00:00:00+00');

-- Balances of the accounts that charges move, and of all that are nobody's own, at the end of the hours in which they
-- moved, with the part of it that charges made up. Derived: the journal says the same.
CREATE TABLE balance_snapshots (
    account_id bigint NOT NULL REFERENCES accounts (account_id),
    until timestamptz NOT NULL,
    balance_micro bigint NOT NULL,
    charged_micro bigint NOT NULL,
    charges bigint NOT NULL,
    -- The charges of that hour that gave a creator its share; null for other accounts.
    charge_ids text[],
    PRIMARY KEY (account_id, until)
);

-- What would be recorded in a closed hour lost too much time on its way; run again, it gets the time it is now.
CREATE FUNCTION refuse_closed_hour(first_recorded_at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF first_recorded_at < (SELECT fenced_until FROM closed_hours) THEN
        RAISE EXCEPTION 'the hour of % is closed', first_recorded_at USING ERRCODE = 'serialization_failure';
    END IF;
END $$;

CREATE FUNCTION keep_out_of_closed_hours() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM refuse_closed_hour(min(recorded_at)) FROM charged;
    RETURN NULL;
END $$;
CREATE TRIGGER closed_hours AFTER INSERT ON distributions REFERENCING NEW TABLE AS charged
    FOR EACH STATEMENT EXECUTE FUNCTION keep_out_of_closed_hours();

CREATE OR REPLACE FUNCTION write_transfer_entries() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM refuse_closed_hour(min(recorded_at)) FROM posted;
    INSERT INTO transfer_entries (account_id, transfer_id, amount_micro, kind, recorded_at)
    SELECT leg.account_id, posted.transfer_id, leg.amount_micro, posted.kind, posted.recorded_at
    FROM posted CROSS JOIN LATERAL unnest(posted.account_ids, posted.amounts_micro) AS leg (account_id, amount_micro);
    RETURN NULL;
END $$;

ANALYZE;

-- What was held when its creator forfeited comes back to nobody: it goes straight on to platform:forfeited.

-- Every forfeiture that was decided, also where nothing was there to take but what was held. Counted per creator, under
-- the lock on its state, and not by time: replicas' clocks differ.
CREATE TABLE forfeitures (
    creator_ref uuid NOT NULL,
    number integer NOT NULL CHECK (number >= 1),
    request_id text NOT NULL,
    operator_id text NOT NULL,
    reason text NOT NULL,
    -- Null where nothing was pending and nothing settled.
    transfer_id uuid UNIQUE REFERENCES transfers (transfer_id),
    forfeited_at timestamptz NOT NULL,
    PRIMARY KEY (creator_ref, number)
);
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON forfeitures FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable_truncate BEFORE TRUNCATE ON forfeitures
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

ALTER TABLE creator_states ADD COLUMN forfeitures integer NOT NULL DEFAULT 0;
-- How many forfeitures of the creator there were when the money was held: it is gone if there are more when it returns.
ALTER TABLE payout_holds ADD COLUMN forfeitures integer NOT NULL DEFAULT 0;
-- The transfer that took what came back, in the same transaction.
ALTER TABLE payout_hold_states ADD COLUMN forfeit_transfer_id uuid UNIQUE REFERENCES transfers (transfer_id),
    ADD CONSTRAINT payout_hold_states_forfeited CHECK (forfeit_transfer_id IS NULL OR state IN (2, 5));

INSERT INTO forfeitures (creator_ref, number, request_id, operator_id, reason, transfer_id, forfeited_at)
SELECT creator_ref, row_number() OVER (PARTITION BY creator_ref ORDER BY recorded_at, transfer_id), cause_id,
    'unknown', 'unknown', transfer_id, recorded_at
FROM (
    SELECT DISTINCT transfer_id, cause_id, recorded_at, split_part(name, ':', 2)::uuid AS creator_ref
    FROM transfers CROSS JOIN LATERAL unnest(account_ids) AS leg (account_id) JOIN accounts USING (account_id)
    WHERE transfers.kind = 4 AND accounts.kind IN ('creator_pending', 'creator_settled')
) AS taken;
UPDATE creator_states AS state SET forfeitures = counted.forfeitures
FROM (SELECT creator_ref, count(*)::integer AS forfeitures FROM forfeitures GROUP BY creator_ref) AS counted
WHERE counted.creator_ref = state.creator_ref;
-- What came back before there was this rule stays where it is; what is still out is judged by it.
ALTER TABLE payout_holds DISABLE TRIGGER guarded;
UPDATE payout_holds AS hold SET forfeitures = (
    SELECT count(*) FROM forfeitures
    WHERE forfeitures.creator_ref = hold.creator_ref
        AND (forfeited_at <= hold.held_at OR hold.state IN (2, 5) AND forfeited_at <= hold.changed_at)
);
ALTER TABLE payout_holds ENABLE TRIGGER guarded;

CREATE OR REPLACE FUNCTION guard_payout_hold() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.state <> 1 THEN
            RAISE EXCEPTION 'a hold begins as held' USING ERRCODE = 'check_violation';
        END IF;
    ELSIF (NEW.payout_id, NEW.round, NEW.creator_ref, NEW.amount_micro, NEW.held_at, NEW.forfeitures)
        IS DISTINCT FROM (OLD.payout_id, OLD.round, OLD.creator_ref, OLD.amount_micro, OLD.held_at, OLD.forfeitures)
        OR (OLD.state, NEW.state) NOT IN ((1, 2), (1, 3), (3, 4), (3, 5)) THEN
        RAISE EXCEPTION 'a hold in state % does not become this', OLD.state USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;

ANALYZE;

-- A hold that the ledger refused may be asked for again by somebody who has not heard of that, and granted: what was
-- closed without ever having been held is held after all, and goes back. Nothing else about the machine is new.

CREATE OR REPLACE FUNCTION guard_payout() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    after_all boolean;
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
    after_all := NEW.stage = OLD.stage AND OLD.stage IN (11, 12) AND OLD.money = 4 AND NOT OLD.held
        AND NEW.money = 2 AND NEW.held;
    IF NEW.stage = OLD.stage THEN
        IF (NEW.revision, NEW.round) <> (OLD.revision, OLD.round) OR (NEW.money < OLD.money AND NOT after_all) THEN
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
        OR (OLD.stage <> 11 AND (NEW.round <> OLD.round OR (NEW.money < OLD.money AND NOT after_all)
            OR (OLD.held AND NOT NEW.held)))
        OR (OLD.stage = 7 AND NEW.stage = 6 AND NOT NEW.manual)
        OR (OLD.stage = 7 AND NEW.stage = 5 AND NEW.manual)
        OR (OLD.fee_final AND (NOT NEW.fee_final OR NEW.fee_micro <> OLD.fee_micro)) THEN
        RAISE EXCEPTION 'payout %: not from stage % with money % to % with %', OLD.payout_id, OLD.stage, OLD.money,
            NEW.stage, NEW.money USING ERRCODE = 'check_violation', CONSTRAINT = 'payouts_machine';
    END IF;
    RETURN NEW;
END $$;

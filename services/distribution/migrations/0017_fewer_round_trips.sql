-- What a hold or another move of money asks for in one round trip each. No rule is in here: what may be moved is decided
-- by who calls, between the two.

-- Transfers with their legs, and the balances and the sum owed that they move. Accounts are locked in the order of their
-- ids; the sum owed comes last. Legs name their transfer and account by place in the arrays before, from 1.
CREATE FUNCTION post_transfers(
    account_names text[],
    account_kinds text[],
    transfer_ids uuid[],
    transfer_kinds smallint[],
    cause_ids text[],
    leg_transfers integer[],
    leg_accounts integer[],
    leg_amounts_micro bigint[],
    more_owed_micro bigint,
    posted_at timestamptz
) RETURNS void
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    ids bigint[];
BEGIN
    INSERT INTO accounts (name, kind)
    SELECT wanted.* FROM unnest(account_names, account_kinds) AS wanted (name, kind)
    WHERE NOT EXISTS (SELECT FROM accounts WHERE accounts.name = wanted.name) ORDER BY wanted.name
    ON CONFLICT (name) DO NOTHING;
    SELECT array_agg(account_id ORDER BY place) INTO ids
    FROM unnest(account_names) WITH ORDINALITY AS wanted (name, place) JOIN accounts USING (name);
    -- Places in the array are what legs name their account by.
    IF coalesce(cardinality(ids), 0) <> cardinality(account_names) THEN
        RAISE EXCEPTION '% of % accounts are there', coalesce(cardinality(ids), 0), cardinality(account_names);
    END IF;
    INSERT INTO transfers (transfer_id, kind, cause_id, recorded_at, account_ids, amounts_micro)
    SELECT transfer_id, kind, cause_id, posted_at, legs.account_ids, legs.amounts_micro
    FROM unnest(transfer_ids, transfer_kinds, cause_ids) WITH ORDINALITY AS wanted (transfer_id, kind, cause_id, place)
    JOIN (
        SELECT transfer, array_agg(ids[account] ORDER BY number) AS account_ids,
            array_agg(amount_micro ORDER BY number) AS amounts_micro
        FROM unnest(leg_transfers, leg_accounts, leg_amounts_micro)
            WITH ORDINALITY AS leg (transfer, account, amount_micro, number)
        GROUP BY transfer
    ) AS legs ON legs.transfer = wanted.place
    ORDER BY wanted.place;
    -- NO KEY: the entries just written hold their accounts' keys, and two transfers would wait for each other's.
    WITH moved AS MATERIALIZED (
        SELECT ids[account] AS account_id, sum(amount_micro)::bigint AS amount_micro
        FROM unnest(leg_accounts, leg_amounts_micro) AS leg (account, amount_micro) GROUP BY 1
    ), locked AS MATERIALIZED (
        SELECT account_id FROM accounts WHERE account_id = ANY (ids) ORDER BY account_id FOR NO KEY UPDATE
    )
    UPDATE accounts SET balance_micro = accounts.balance_micro + moved.amount_micro
    FROM moved JOIN locked USING (account_id) WHERE accounts.account_id = moved.account_id;
    IF more_owed_micro <> 0 THEN
        UPDATE owed SET owed_micro = owed_micro + more_owed_micro;
    END IF;
END $$;

-- All that decides whether a creator's money may be held for a payout, locked in this order: the payout, the switch
-- (shared), the creator, and its settled money. Each is read after it is locked, so that nothing is older than its lock.
CREATE FUNCTION lock_withdrawable(
    of_payout uuid,
    of_creator uuid,
    as_of timestamptz,
    OUT rounds integer,
    OUT paused boolean,
    OUT settled_micro bigint,
    OUT maturing_micro bigint,
    OUT creator creator_states
)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('payout ' || of_payout, 0));
    SELECT count(*) INTO rounds FROM payout_holds WHERE payout_id = of_payout;
    SELECT payouts_switch.paused INTO paused FROM payouts_switch FOR SHARE;
    INSERT INTO creator_states (creator_ref)
    SELECT of_creator WHERE NOT EXISTS (SELECT FROM creator_states WHERE creator_ref = of_creator)
    ON CONFLICT (creator_ref) DO NOTHING;
    SELECT * INTO creator FROM creator_states WHERE creator_ref = of_creator FOR UPDATE;
    SELECT balance_micro INTO settled_micro FROM accounts WHERE name = 'creator:' || of_creator || ':settled'
    FOR NO KEY UPDATE;
    settled_micro := coalesce(settled_micro, 0);
    SELECT coalesce(sum(amount_micro), 0) INTO maturing_micro FROM maturing_earnings
    WHERE creator_ref = of_creator AND matures_at > as_of;
END $$;

-- Everything that moves money and is not a charge: transfers with their legs.

ALTER TABLE accounts DROP CONSTRAINT accounts_kind, DROP CONSTRAINT accounts_not_overdrawn;
ALTER TABLE accounts
    ADD CONSTRAINT accounts_kind CHECK (kind IN (
        'receipts', 'commons', 'community', 'foundation', 'creator_pending', 'creator_settled', 'creator_held',
        'operating', 'payout_reserve', 'in_flight', 'sent', 'provider_fees', 'paid_out', 'clawback_loss', 'forfeited',
        'promotional_spend', 'marketing', 'score_rewards', 'campaign_available', 'campaign_reserved', 'credits'
    )),
    -- Losses and marketing are where money comes from that nobody earned: they may go below zero, like the outside world.
    ADD CONSTRAINT accounts_not_overdrawn CHECK (
        balance_micro >= 0 OR kind IN (
            'receipts', 'commons', 'community', 'foundation', 'operating', 'clawback_loss', 'marketing'
        )
    );

CREATE FUNCTION total(amounts bigint[]) RETURNS numeric LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN (SELECT sum(amount) FROM unnest(amounts) AS amount);

-- One row per transfer: that its legs sum to zero is a constraint on the row.
CREATE TABLE transfers (
    -- UUIDv7: ordered by time, and in one order with the ids of distributions.
    transfer_id uuid PRIMARY KEY,
    -- Numbers of creator.distribution.v1.TransferKind; 1, finalize, is in `distributions`.
    kind smallint NOT NULL,
    -- Payment, payout, campaign, period, …: what caused it. Never an account's own id.
    cause_id text NOT NULL,
    recorded_at timestamptz NOT NULL,
    account_ids bigint[] NOT NULL,
    amounts_micro bigint[] NOT NULL,
    CONSTRAINT transfers_kind CHECK (kind BETWEEN 2 AND 16),
    CONSTRAINT transfers_legs CHECK (
        cardinality(account_ids) = cardinality(amounts_micro) AND cardinality(account_ids) >= 2
    ),
    CONSTRAINT transfers_balanced CHECK (total(amounts_micro) = 0),
    CONSTRAINT transfers_no_empty_leg CHECK (array_position(amounts_micro, 0) IS NULL)
);
CREATE INDEX transfers_of_cause ON transfers (cause_id, kind);

-- The legs, by account, for statements. Written by the trigger below and by nothing else.
CREATE TABLE transfer_entries (
    account_id bigint NOT NULL REFERENCES accounts (account_id),
    transfer_id uuid NOT NULL REFERENCES transfers (transfer_id),
    amount_micro bigint NOT NULL,
    PRIMARY KEY (account_id, transfer_id)
);

CREATE FUNCTION write_transfer_entries() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO transfer_entries (account_id, transfer_id, amount_micro)
    SELECT leg.account_id, posted.transfer_id, leg.amount_micro
    FROM posted CROSS JOIN LATERAL unnest(posted.account_ids, posted.amounts_micro) AS leg (account_id, amount_micro);
    RETURN NULL;
END $$;

CREATE TRIGGER legs AFTER INSERT ON transfers REFERENCING NEW TABLE AS posted
    FOR EACH STATEMENT EXECUTE FUNCTION write_transfer_entries();

CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON transfers FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable_truncate BEFORE TRUNCATE ON transfers
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON transfer_entries FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable_truncate BEFORE TRUNCATE ON transfer_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- All entries there are: the legs of charges and those of transfers.
CREATE VIEW journal AS
SELECT transfer_id, 1::smallint AS kind, inference_charge_id AS cause_id, recorded_at, account, amount_micro FROM entries
UNION ALL
SELECT transfer_id, transfers.kind, cause_id, recorded_at, accounts.name, amount_micro
FROM transfer_entries JOIN transfers USING (transfer_id) JOIN accounts USING (account_id);

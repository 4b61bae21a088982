-- Purchases, the payments that pay them, what these funded, and what refunds took back (money rules 9 and 10).

-- Surrogates of accounts that are not payers of charges; erased with the account, like `attributions`.
CREATE TABLE account_refs (
    account_id text PRIMARY KEY,
    account_ref uuid NOT NULL UNIQUE
);

CREATE TABLE purchases (
    order_id text PRIMARY KEY,
    account_ref uuid NOT NULL,
    price_micro bigint NOT NULL CHECK (price_micro BETWEEN 1 AND 1000000000000000),
    recorded_at timestamptz NOT NULL
);
CREATE INDEX purchases_of_account ON purchases (account_ref, recorded_at DESC, order_id);

-- What is known of a payment. A charge may name one that nobody has reported yet: it has state 0 until then.
CREATE TABLE payments (
    payment_id text PRIMARY KEY,
    order_id text,
    -- Numbers of creator.distribution.v1.PaymentState; 0 where it is only known by a charge that it funded.
    state smallint NOT NULL DEFAULT 0 CHECK (state BETWEEN 0 AND 6),
    paid_micro bigint NOT NULL DEFAULT 0 CHECK (paid_micro BETWEEN 0 AND 1000000000000000),
    refunded_micro bigint NOT NULL DEFAULT 0 CHECK (refunded_micro BETWEEN 0 AND paid_micro),
    cleared_at timestamptz,
    source smallint NOT NULL DEFAULT 0,
    -- Numbers of UnallocatedReason; 0 where it belongs to a purchase, or was dismissed.
    unallocated_reason smallint NOT NULL DEFAULT 0 CHECK (unallocated_reason BETWEEN 0 AND 3),
    dismissed boolean NOT NULL DEFAULT false,
    reported_at timestamptz,
    -- Sum of what it funded.
    spent_micro numeric(38, 0) NOT NULL DEFAULT 0 CHECK (spent_micro >= 0),
    -- The part of spent_micro that refunds have been applied for.
    reversed_micro numeric(38, 0) NOT NULL DEFAULT 0 CHECK (reversed_micro BETWEEN 0 AND spent_micro),
    CHECK (state = 0 OR reported_at IS NOT NULL),
    CHECK (state NOT IN (3, 4, 5) OR cleared_at IS NOT NULL)
);
CREATE INDEX payments_of_order ON payments (order_id) WHERE order_id IS NOT NULL;
CREATE INDEX payments_unallocated ON payments (payment_id) WHERE unallocated_reason <> 0;
CREATE INDEX payments_refunded ON payments (payment_id) WHERE refunded_micro > 0;

-- Which payment paid how much of which charge, and how much of that was refunded.
CREATE TABLE charge_fundings (
    payment_id text NOT NULL REFERENCES payments (payment_id),
    distribution_id uuid NOT NULL,
    inference_charge_id text NOT NULL,
    creator_ref uuid,
    amount_micro bigint NOT NULL CHECK (amount_micro > 0),
    refunded_micro bigint NOT NULL DEFAULT 0 CHECK (refunded_micro BETWEEN 0 AND amount_micro),
    PRIMARY KEY (payment_id, distribution_id)
) WITH (fillfactor = 80);
CREATE INDEX charge_fundings_of_charge ON charge_fundings (distribution_id);

-- What refunds took back of a charge, by transfer. Cumulative per charge: never more than its shares.
CREATE TABLE charge_reversals (
    distribution_id uuid NOT NULL,
    transfer_id uuid NOT NULL,
    inference_charge_id text NOT NULL,
    payment_id text NOT NULL,
    refunded_micro bigint NOT NULL CHECK (refunded_micro > 0),
    -- Of the creator's share: taken from pending, or borne by platform:clawback_loss because it was settled already.
    clawed_back_micro bigint NOT NULL CHECK (clawed_back_micro >= 0),
    loss_micro bigint NOT NULL CHECK (loss_micro >= 0),
    commons_micro bigint NOT NULL CHECK (commons_micro >= 0),
    community_micro bigint NOT NULL CHECK (community_micro >= 0),
    -- With what rounding leaves, so for a while less than nothing may have been taken.
    foundation_micro bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (distribution_id, transfer_id),
    CHECK (refunded_micro = clawed_back_micro + loss_micro + commons_micro + community_micro + foundation_micro)
);
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON charge_reversals FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER immutable_truncate BEFORE TRUNCATE ON charge_reversals
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Cleared: its money is here, and it is known whose it is.
CREATE FUNCTION is_cleared(payment payments) RETURNS boolean LANGUAGE sql IMMUTABLE
    RETURN payment.state IN (3, 4, 5) AND payment.unallocated_reason = 0;

-- A pending share whose payments have all cleared is dated by the last of them.
CREATE FUNCTION clear_earnings(cleared_distributions uuid[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE pending_earnings AS pending SET cleared_at = greatest(pending.accrued_at, ready.cleared_at)
    FROM (
        SELECT funding.creator_ref, funding.distribution_id, max(payments.cleared_at) AS cleared_at
        FROM charge_fundings AS funding JOIN payments USING (payment_id)
        WHERE funding.distribution_id = ANY (cleared_distributions) AND funding.creator_ref IS NOT NULL
        GROUP BY funding.creator_ref, funding.distribution_id
        HAVING bool_and(is_cleared(payments))
    ) AS ready
    WHERE pending.creator_ref = ready.creator_ref AND pending.distribution_id = ready.distribution_id
        AND pending.cleared_at IS NULL;
END $$;

-- In the statement that journals a group of charges, after their earnings were opened (triggers fire by name). The row of
-- the payment is locked: a report about it comes wholly before or wholly after.
CREATE FUNCTION fund_charges() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    funded uuid[];
BEGIN
    SELECT array_agg(distribution_id) INTO funded FROM charged WHERE funding IS NOT NULL;
    IF funded IS NULL THEN
        RETURN NULL;
    END IF;
    CREATE TEMPORARY TABLE IF NOT EXISTS named (
        payment_id text, distribution_id uuid, inference_charge_id text, creator_ref uuid, amount_micro bigint
    ) ON COMMIT DELETE ROWS;
    DELETE FROM named;
    INSERT INTO named
    SELECT part ->> 'payment_id', distribution_id, inference_charge_id,
        CASE WHEN referrer_micro > 0 THEN referrer_ref END, (part ->> 'amount_micro')::bigint
    FROM charged CROSS JOIN LATERAL jsonb_array_elements(funding) AS part
    WHERE funding IS NOT NULL;
    INSERT INTO payments (payment_id, spent_micro)
    SELECT payment_id, sum(amount_micro) FROM named GROUP BY payment_id ORDER BY payment_id
    ON CONFLICT (payment_id) DO UPDATE SET spent_micro = payments.spent_micro + excluded.spent_micro;
    INSERT INTO charge_fundings (payment_id, distribution_id, inference_charge_id, creator_ref, amount_micro)
    SELECT * FROM named;
    PERFORM clear_earnings(funded);
    RETURN NULL;
END $$;

CREATE TRIGGER fundings AFTER INSERT ON distributions REFERENCING NEW TABLE AS charged
    FOR EACH STATEMENT EXECUTE FUNCTION fund_charges();

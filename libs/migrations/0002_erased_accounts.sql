-- Accounts that this service was told to forget, by surrogate, which leads to nobody. Kept for ever: whoever still learns
-- the mapping of one, from an answer that was on its way, must not keep it.
CREATE TABLE erased_accounts (
    account_ref uuid PRIMARY KEY,
    erasure_id uuid NOT NULL,
    erased_at timestamptz NOT NULL,
    -- What it removed or emptied here.
    rows bigint NOT NULL DEFAULT 0 CHECK (rows >= 0),
    reported boolean NOT NULL DEFAULT false,
    -- Real time: how long processes have had to forget what they keep in memory.
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX erased_accounts_to_report ON erased_accounts (recorded_at) WHERE NOT reported;
CREATE INDEX erased_accounts_by_time ON erased_accounts (recorded_at);

-- For tables that hold what is personal: BEFORE INSERT … EXECUTE FUNCTION skip_erased('<column of the surrogate>').
-- A row of an erased account is left out. The lock is shared by who inserts and held alone by who erases, so an erasure
-- meets no row that is written but not committed.
CREATE FUNCTION skip_erased() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1163022419, hashtext(TG_TABLE_SCHEMA));
    IF EXISTS (SELECT FROM erased_accounts WHERE account_ref = (to_jsonb(NEW) ->> TG_ARGV[0])::uuid) THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END
$$;

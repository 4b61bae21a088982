-- Everything here but accounts and profiles is made from events and can be made again from them.

-- Outside ids live here alone; erasing an account deletes its row.
CREATE TABLE accounts (
    account_ref uuid PRIMARY KEY,
    account_id text COLLATE "C" NOT NULL UNIQUE CHECK (account_id ~ '^[ -~]{1,128}$')
);

CREATE TABLE profiles (
    account_ref uuid PRIMARY KEY,
    display_name text NOT NULL CHECK (length(display_name) <= 32),
    revision bigint NOT NULL CHECK (revision > 0),
    updated_at timestamptz NOT NULL
);

-- One row per creator and window. No index on what orders a board: every charge changes it, and a change of what is not
-- indexed stays within its page. A table per timeframe, so that reading one window passes few rows of others.
CREATE TABLE places (
    -- 1 daily, 2 weekly, 3 monthly, 4 all time, which begins at -infinity.
    timeframe smallint NOT NULL,
    window_start date NOT NULL,
    creator_ref uuid NOT NULL,
    referral_count bigint NOT NULL CHECK (referral_count >= 0),
    earned_micro bigint NOT NULL CHECK (earned_micro >= 0),
    -- The newest referral and the newest charge that count here, by their own time.
    referred_at timestamptz,
    earned_at timestamptz,
    -- The transaction that changed it last: a refresh takes what its last snapshot may not have seen.
    changed_by xid8 NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (timeframe, window_start, creator_ref),
    CHECK ((referral_count > 0) = (referred_at IS NOT NULL)),
    CHECK ((earned_micro > 0) = (earned_at IS NOT NULL)),
    CHECK (referred_at IS NOT NULL OR earned_at IS NOT NULL)
) PARTITION BY LIST (timeframe);
CREATE TABLE places_daily PARTITION OF places FOR VALUES IN (1) WITH (fillfactor = 70);
CREATE TABLE places_weekly PARTITION OF places FOR VALUES IN (2) WITH (fillfactor = 70);
CREATE TABLE places_monthly PARTITION OF places FOR VALUES IN (3) WITH (fillfactor = 70);
CREATE TABLE places_all_time PARTITION OF places FOR VALUES IN (4) WITH (fillfactor = 70);

-- Days with a referral, for streaks: days that follow on each other are one range, whatever order they came in.
CREATE TABLE referral_days (
    creator_ref uuid PRIMARY KEY,
    days datemultirange NOT NULL CHECK (NOT isempty(days))
) WITH (fillfactor = 70);

-- What each creator accrued by UTC day and model.
CREATE TABLE earning_days (
    creator_ref uuid NOT NULL,
    day date NOT NULL,
    model text NOT NULL,
    charges bigint NOT NULL CHECK (charges >= 0),
    accrued_micro bigint NOT NULL CHECK (accrued_micro >= 0),
    PRIMARY KEY (creator_ref, day, model)
) WITH (fillfactor = 70);

-- The one row that says up to which instant of business time every event is applied.
CREATE TABLE progress (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    caught_up_at timestamptz
);
INSERT INTO progress DEFAULT VALUES;

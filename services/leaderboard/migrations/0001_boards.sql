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

-- One row per creator and window. Timeframe: 1 daily, 2 weekly, 3 monthly, 4 all time.
CREATE TABLE places (
    timeframe smallint NOT NULL CHECK (timeframe BETWEEN 1 AND 4),
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
    CHECK (referred_at IS NOT NULL OR earned_at IS NOT NULL)
) WITH (fillfactor = 70);

-- Days with a referral, for streaks.
CREATE TABLE referral_days (
    creator_ref uuid NOT NULL,
    day date NOT NULL,
    PRIMARY KEY (creator_ref, day)
);

-- What each creator accrued by UTC day and model.
CREATE TABLE earning_days (
    creator_ref uuid NOT NULL,
    day date NOT NULL,
    model text NOT NULL,
    charges bigint NOT NULL CHECK (charges >= 0),
    accrued_micro bigint NOT NULL CHECK (accrued_micro >= 0),
    PRIMARY KEY (creator_ref, day, model)
) WITH (fillfactor = 70);

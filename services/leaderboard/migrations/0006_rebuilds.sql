-- Everything made from events is made again from their publishers' logs, beside the tables that are read: next_places and
-- so on, which take their names when they are ready. One at a time.
CREATE TABLE rebuilds (
    rebuild_id uuid PRIMARY KEY,
    operator_id text NOT NULL,
    reason text NOT NULL,
    requested_at timestamptz NOT NULL,
    state text NOT NULL DEFAULT 'under_way' CHECK (state IN ('under_way', 'done', 'failed')),
    -- How many migrations the tables beside were made by: after another one they are made anew. NULL before there are any.
    made_by bigint,
    ended_at timestamptz,
    fault text NOT NULL DEFAULT '',
    CHECK ((state = 'under_way') = (ended_at IS NULL))
);
CREATE UNIQUE INDEX rebuilds_under_way ON rebuilds (state) WHERE state = 'under_way';

-- Counts the swaps: a board in Redis from before the last one is made anew.
ALTER TABLE progress ADD COLUMN generation bigint NOT NULL DEFAULT 0;

-- Referees from before flags were known lack what a flag needs.
INSERT INTO rebuilds (rebuild_id, operator_id, reason, requested_at)
SELECT gen_random_uuid(), 'migration', 'referees without referrer', now() WHERE EXISTS (SELECT FROM referees);

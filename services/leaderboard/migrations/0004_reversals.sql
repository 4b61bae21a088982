-- What was taken back counts no more. It may be told of before what it takes back, so it is summed up beside it.
ALTER TABLE places ADD COLUMN reversed_micro bigint NOT NULL DEFAULT 0 CHECK (reversed_micro >= 0);
ALTER TABLE places DROP CONSTRAINT places_check2;

-- By the UTC day on which it had accrued, or, where that is not told, on which it was taken back.
CREATE TABLE reversal_days (
    creator_ref uuid NOT NULL,
    day date NOT NULL,
    reversed_micro bigint NOT NULL CHECK (reversed_micro > 0),
    PRIMARY KEY (creator_ref, day)
);

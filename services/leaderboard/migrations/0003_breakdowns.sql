-- How referees came, by surrogate: what breakdowns by channel and cohort need.
CREATE TABLE referees (
    referee_ref uuid PRIMARY KEY,
    channel text NOT NULL,
    registered_on date NOT NULL
);

-- What each referee brought on days that are not published yet. Nobody reads it but the job that publishes a day, which
-- deletes it then.
CREATE TABLE open_parts (
    day date NOT NULL,
    creator_ref uuid NOT NULL,
    referee_ref uuid NOT NULL,
    model text NOT NULL,
    charges bigint NOT NULL CHECK (charges >= 0),
    accrued_micro bigint NOT NULL CHECK (accrued_micro >= 0),
    PRIMARY KEY (day, creator_ref, referee_ref, model)
) WITH (fillfactor = 70);

-- The parts of published days that may be shown. They never change again, also when a charge of that day comes late or
-- everything else is made anew: two versions of a day would tell by their difference what neither does. The rest of a
-- day is what is missing to its total.
CREATE TABLE shown_parts (
    creator_ref uuid NOT NULL,
    -- 1 model, 2 channel, 3 cohort.
    dimension smallint NOT NULL CHECK (dimension BETWEEN 1 AND 3),
    day date NOT NULL,
    name text NOT NULL CHECK (name <> 'other'),
    charges bigint NOT NULL CHECK (charges >= 0),
    accrued_micro bigint NOT NULL CHECK (accrued_micro > 0),
    PRIMARY KEY (creator_ref, dimension, day, name)
);

-- The last day that is published; NULL before the first.
ALTER TABLE progress ADD COLUMN published_through date;

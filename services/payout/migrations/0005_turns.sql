-- What an account asks for takes turns: whoever decides by what it asked for so far insists, when that is written, that
-- nobody had a turn since it was read. A surrogate alone names nobody, so an erasure leaves its row.
CREATE TABLE turns (
    account_ref uuid PRIMARY KEY,
    turn bigint NOT NULL CHECK (turn >= 1)
);

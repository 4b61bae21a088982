-- Charges that came by the broker and were refused: each record is told of once, however often the broker brings it.
CREATE TABLE refused_records (
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    -- Of value and time: a broker that lost everything counts from the beginning again.
    digest bytea NOT NULL,
    refused_at timestamptz NOT NULL,
    PRIMARY KEY (partition, "offset", digest)
);

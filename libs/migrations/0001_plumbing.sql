-- What every service's schema needs besides its own tables.

-- Written by commands in their own transaction, emptied by the relay: narrow, and nearly empty all the time.
CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id uuid NOT NULL,
    topic text NOT NULL,
    partition smallint NOT NULL CHECK (partition >= 0),
    key text NOT NULL,
    payload bytea NOT NULL,
    occurred_at timestamptz NOT NULL,
    traceparent text NOT NULL DEFAULT ''
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- Every event ever published, by its gapless position: what a consumer falls back on.
CREATE TABLE events (
    topic text NOT NULL,
    partition smallint NOT NULL,
    position bigint NOT NULL CHECK (position > 0),
    event_id uuid NOT NULL,
    key text NOT NULL,
    payload bytea NOT NULL,
    occurred_at timestamptz NOT NULL,
    traceparent text NOT NULL,
    PRIMARY KEY (topic, partition, position)
);

-- The newest position of each partition, and how far the broker has acknowledged.
CREATE TABLE event_heads (
    topic text NOT NULL,
    partition smallint NOT NULL,
    position bigint NOT NULL,
    published bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (topic, partition),
    CHECK (published BETWEEN 0 AND position)
) WITH (fillfactor = 50);

-- The last position applied of each partition listened to; advanced in the transaction of the effect.
CREATE TABLE inbox (
    topic text NOT NULL,
    partition smallint NOT NULL,
    position bigint NOT NULL CHECK (position >= 0),
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = 50);

-- Events given up on, as they came.
CREATE TABLE dead_letters (
    topic text NOT NULL,
    partition smallint NOT NULL,
    position bigint NOT NULL,
    event bytea NOT NULL,
    error text NOT NULL,
    failed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition, position)
);

-- Answers given, so that the same request gets the same answer.
CREATE TABLE idempotency (
    request_id text COLLATE "C" NOT NULL CHECK (length(request_id) BETWEEN 1 AND 128),
    method text NOT NULL,
    fingerprint bytea NOT NULL,
    response bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (request_id, method)
);

-- The last period each job has run for, in business time.
CREATE TABLE jobs (
    name text PRIMARY KEY,
    last_run timestamptz NOT NULL
);

-- What referred accounts paid, summed by the minute in which it was finalized: no account, no code, no referrer.
CREATE TABLE referred_revenue (
    minute timestamptz PRIMARY KEY CHECK (minute = date_trunc('minute', minute, 'UTC')),
    charges bigint NOT NULL CHECK (charges > 0),
    revenue_micro bigint NOT NULL CHECK (revenue_micro >= 0),
    provider_cost_micro bigint NOT NULL CHECK (provider_cost_micro >= 0),
    referrer_micro bigint NOT NULL CHECK (referrer_micro >= 0)
) WITH (fillfactor = 70);

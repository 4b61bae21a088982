-- Purchases as distribution tells of them: how each stands by the newest event.
CREATE TABLE purchases (
    order_id text COLLATE "C" PRIMARY KEY,
    account_ref uuid NOT NULL,
    confirmed boolean NOT NULL,
    net_paid_micro bigint NOT NULL CHECK (net_paid_micro >= 0),
    refunded boolean NOT NULL,
    changed_at timestamptz NOT NULL
);
CREATE INDEX purchases_of_account ON purchases (account_ref);

-- Actions that might earn a bonus, each once, whatever came of it.
CREATE TABLE qualifying_actions (
    source text NOT NULL CHECK (source IN ('billing', 'purchase')),
    kind text NOT NULL CHECK (kind IN ('dnft_mint', 'credit_purchase')),
    action_id text COLLATE "C" NOT NULL CHECK (action_id ~ '^[ -~]{1,128}$'),
    account_ref uuid NOT NULL,
    paid_micro bigint NOT NULL CHECK (paid_micro BETWEEN 0 AND 1000000000000000),
    occurred_at timestamptz NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('bonus', 'organic', 'below_minimum', 'not_first')),
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (action_id, kind, source)
);
CREATE INDEX qualifying_actions_of_account ON qualifying_actions (account_ref);

CREATE TABLE bonuses (
    bonus_id uuid PRIMARY KEY,
    -- One bonus per referee, for ever, whatever becomes of it.
    referee_ref uuid NOT NULL UNIQUE,
    referrer_ref uuid NOT NULL CHECK (referrer_ref <> referee_ref),
    source text NOT NULL,
    kind text NOT NULL,
    action_id text COLLATE "C" NOT NULL,
    amount_micro bigint NOT NULL CHECK (amount_micro > 0),
    created_at timestamptz NOT NULL,
    hold_until timestamptz NOT NULL CHECK (hold_until >= created_at),
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'withheld', 'granted', 'denied')),
    -- Why it is withheld or denied.
    reason text NOT NULL DEFAULT '',
    changed_at timestamptz NOT NULL,
    -- Its money at distribution. `asked` is written before distribution is asked, so that no answer is lost.
    budget text NOT NULL CHECK (budget IN ('none', 'asked', 'reserved', 'releasing', 'released', 'granted')),
    campaign_id uuid,
    -- The checks, once they were made.
    checked_at timestamptz,
    flagged boolean,
    risk_score integer CHECK (risk_score BETWEEN 0 AND 10000),
    cleared_at timestamptz,
    cleared_by text CHECK (cleared_by IN ('checks', 'review')),
    -- What it was earned by was paid back.
    refunded_at timestamptz,
    -- A grant is under way since; its answer is not recorded yet. While it is, nothing else happens to the bonus.
    sent_at timestamptz,
    lot_id uuid,
    -- What failed is left alone until then.
    next_try_at timestamptz,
    FOREIGN KEY (action_id, kind, source) REFERENCES qualifying_actions (action_id, kind, source),
    CHECK ((state IN ('withheld', 'denied')) = (reason <> '')),
    CHECK ((state = 'granted') = (lot_id IS NOT NULL)),
    CHECK ((state = 'granted') = (budget = 'granted')),
    CHECK (state = 'denied' OR budget NOT IN ('none', 'releasing', 'released')),
    CHECK (budget <> 'reserved' OR campaign_id IS NOT NULL),
    CHECK ((checked_at IS NULL) = (flagged IS NULL)),
    CHECK ((cleared_at IS NULL) = (cleared_by IS NULL)),
    -- Nothing unchecked, and nothing flagged that nobody reviewed, is ever released.
    CHECK (state <> 'granted' OR cleared_at IS NOT NULL),
    CHECK (sent_at IS NULL OR (cleared_at IS NOT NULL AND state IN ('pending', 'withheld'))),
    CHECK (cleared_at IS NULL OR checked_at IS NOT NULL),
    CHECK (cleared_at IS NULL OR NOT flagged OR cleared_by = 'review'),
    CHECK (state <> 'withheld' OR flagged)
);
CREATE INDEX bonuses_of_referrer ON bonuses (referrer_ref, created_at);
CREATE INDEX bonuses_of_action ON bonuses (action_id);
CREATE INDEX bonuses_open ON bonuses (hold_until, bonus_id) WHERE state IN ('pending', 'withheld');
CREATE INDEX bonuses_to_grant ON bonuses (cleared_at, bonus_id)
    WHERE state IN ('pending', 'withheld') AND cleared_at IS NOT NULL;
CREATE INDEX bonuses_moving ON bonuses (budget, bonus_id) WHERE budget IN ('asked', 'releasing');

-- No phantom reward: a bonus is of a registration, and of an action that earned it.
CREATE FUNCTION check_bonus_earned() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM referral_registrations
        WHERE referee_ref = NEW.referee_ref AND referrer_ref = NEW.referrer_ref
    ) OR NOT EXISTS (
        SELECT FROM qualifying_actions
        WHERE (action_id, kind, source) = (NEW.action_id, NEW.kind, NEW.source)
            AND account_ref = NEW.referee_ref AND outcome = 'bonus'
    ) THEN
        RAISE EXCEPTION 'a bonus that nothing earned' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER bonuses_earned BEFORE INSERT ON bonuses FOR EACH ROW EXECUTE FUNCTION check_bonus_earned();

-- pending → withheld | granted | denied; withheld → granted | denied; what it is and for whom never changes.
CREATE FUNCTION guard_bonus() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.bonus_id, NEW.referee_ref, NEW.referrer_ref, NEW.source, NEW.kind, NEW.action_id, NEW.amount_micro,
            NEW.created_at, NEW.hold_until)
        IS DISTINCT FROM (OLD.bonus_id, OLD.referee_ref, OLD.referrer_ref, OLD.source, OLD.kind, OLD.action_id,
            OLD.amount_micro, OLD.created_at, OLD.hold_until)
        OR (NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN (
            ('pending', 'withheld'), ('pending', 'granted'), ('pending', 'denied'),
            ('withheld', 'granted'), ('withheld', 'denied')))
        OR (NEW.budget <> OLD.budget AND (OLD.budget, NEW.budget) NOT IN (
            ('asked', 'reserved'), ('asked', 'releasing'), ('reserved', 'releasing'), ('reserved', 'granted'),
            ('releasing', 'released')))
    THEN
        RAISE EXCEPTION 'a bonus does not change like this' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER bonuses_guard BEFORE UPDATE ON bonuses FOR EACH ROW EXECUTE FUNCTION guard_bonus();
CREATE TRIGGER bonuses_stay BEFORE TRUNCATE ON bonuses FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER bonuses_erased BEFORE DELETE ON bonuses FOR EACH ROW EXECUTE FUNCTION refuse_delete_unless_erasing();

-- When a referee last paid for a charge with real money: one row per referee, however many charges. No index holds the
-- time, so that an update stays on its page.
CREATE TABLE referee_activity (
    referee_ref uuid PRIMARY KEY,
    referrer_ref uuid NOT NULL,
    first_paid_at timestamptz NOT NULL,
    last_paid_at timestamptz NOT NULL CHECK (last_paid_at >= first_paid_at)
) WITH (fillfactor = 70);
CREATE INDEX referee_activity_of_referrer ON referee_activity (referrer_ref);

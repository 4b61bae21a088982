-- Cases for review. Time makes one urgent; only an operator decides one.
CREATE TABLE review_cases (
    case_id uuid PRIMARY KEY,
    subject text NOT NULL CHECK (subject IN ('registration', 'standing', 'shared_address')),
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'cleared', 'confirmed')),
    urgent boolean NOT NULL,
    risk_score integer NOT NULL CHECK (risk_score BETWEEN 0 AND 10000),
    referrer_ref uuid NOT NULL,
    referee_ref uuid,
    -- The parts of the score, as in `risk_scores`; 0 and NULL where it is not a score of signals.
    weights_version integer NOT NULL DEFAULT 0,
    observed bigint[],
    points integer[],
    related_refs uuid[] NOT NULL DEFAULT '{}' CHECK (cardinality(related_refs) <= 50),
    opened_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL CHECK (due_at > opened_at),
    escalated_at timestamptz,
    decided_by text,
    decided_at timestamptz,
    decision_reason text,
    CHECK ((state = 'open') = (decided_at IS NULL)),
    CHECK ((decided_by IS NULL) = (decided_at IS NULL)),
    CHECK ((decision_reason IS NULL) = (decided_at IS NULL)),
    CHECK ((weights_version = 0) = (observed IS NULL)),
    CHECK ((observed IS NULL) = (points IS NULL)),
    CHECK (subject <> 'registration' OR referee_ref IS NOT NULL),
    CHECK (subject <> 'standing' OR referee_ref IS NULL)
);
CREATE UNIQUE INDEX review_cases_one_open ON review_cases (subject, referrer_ref, referee_ref) NULLS NOT DISTINCT
    WHERE state = 'open';
CREATE INDEX review_cases_queue ON review_cases (state, urgent DESC, opened_at, case_id);
CREATE INDEX review_cases_of_referrer ON review_cases (referrer_ref, state);
CREATE INDEX review_cases_of_referee ON review_cases (referee_ref, state) WHERE referee_ref IS NOT NULL;
CREATE INDEX review_cases_to_escalate ON review_cases (due_at) WHERE state = 'open' AND NOT urgent;

-- Decided once, by a person.
CREATE FUNCTION guard_review_case() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state <> 'open'
        OR (NEW.case_id, NEW.subject, NEW.referrer_ref, NEW.opened_at)
            IS DISTINCT FROM (OLD.case_id, OLD.subject, OLD.referrer_ref, OLD.opened_at)
        OR NEW.decided_by LIKE 'job:%'
    THEN
        RAISE EXCEPTION 'a case does not change like this' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER review_cases_guard BEFORE UPDATE ON review_cases FOR EACH ROW EXECUTE FUNCTION guard_review_case();
CREATE TRIGGER review_cases_stay BEFORE TRUNCATE ON review_cases FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER review_cases_erased BEFORE DELETE ON review_cases
    FOR EACH ROW EXECUTE FUNCTION refuse_delete_unless_erasing();

CREATE TABLE review_notes (
    note_id uuid PRIMARY KEY,
    case_id uuid NOT NULL REFERENCES review_cases ON DELETE CASCADE,
    operator_id text NOT NULL,
    text text NOT NULL CHECK (length(text) BETWEEN 1 AND 2000),
    written_at timestamptz NOT NULL
);
CREATE INDEX review_notes_of_case ON review_notes (case_id, written_at, note_id);

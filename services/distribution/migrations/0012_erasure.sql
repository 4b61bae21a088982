-- The two places where an account's id meets its surrogate: a late answer brings no erased account back.
CREATE TRIGGER attributions_not_erased BEFORE INSERT ON attributions
    FOR EACH ROW EXECUTE FUNCTION skip_erased('account_ref');
CREATE TRIGGER account_refs_not_erased BEFORE INSERT ON account_refs
    FOR EACH ROW EXECUTE FUNCTION skip_erased('account_ref');

CREATE INDEX attributions_bound ON attributions (registered_at) WHERE referrer_ref IS NOT NULL;

-- What was forgotten does not come back with an answer that was on its way.
CREATE TRIGGER accounts_not_erased BEFORE INSERT ON accounts
    FOR EACH ROW EXECUTE FUNCTION skip_erased('account_ref');
CREATE TRIGGER challenges_not_erased BEFORE INSERT ON challenges
    FOR EACH ROW EXECUTE FUNCTION skip_erased('account_ref');
CREATE TRIGGER wallets_not_erased BEFORE INSERT ON wallets
    FOR EACH ROW EXECUTE FUNCTION skip_erased('account_ref');

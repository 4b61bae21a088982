-- What is personal; whoever learns it late writes nothing of an erased account.
CREATE TRIGGER accounts_not_erased BEFORE INSERT ON accounts
    FOR EACH ROW EXECUTE FUNCTION skip_erased('account_ref');
CREATE TRIGGER profiles_not_erased BEFORE INSERT ON profiles
    FOR EACH ROW EXECUTE FUNCTION skip_erased('account_ref');

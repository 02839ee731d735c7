-- Proved at once, in the migration's transaction: keys are thousands where the log has millions, and a million
-- of them is looked at in 0.2 s.
-- squawk-ignore constraint-missing-not-valid
ALTER TABLE api_key ADD CONSTRAINT api_key_allowed_cidrs_check
    -- array_position also refuses an array of arrays.
    CHECK (cardinality(allowed_cidrs) <= 50 AND array_position(allowed_cidrs, NULL) IS NULL);
-- squawk-ignore constraint-missing-not-valid
ALTER TABLE api_key ADD CONSTRAINT api_key_note_check CHECK (length(note) <= 2000);
-- squawk-ignore constraint-missing-not-valid
ALTER TABLE api_key ADD CONSTRAINT api_key_revoked_reason_check
    CHECK (length(revoked_reason) <= 500 AND (revoked_reason = '' OR revoked_at IS NOT NULL));

-- From where a key may be used is news; what is noted of it is not.
DROP TRIGGER api_key_changed ON api_key;
CREATE TRIGGER api_key_changed AFTER UPDATE ON api_key
FOR EACH ROW WHEN (
    (OLD.tier_id, OLD.requests_per_hour, OLD.burst, OLD.is_active, OLD.expires_at, OLD.revoked_at,
     OLD.allowed_cidrs)
    IS DISTINCT FROM
    (NEW.tier_id, NEW.requests_per_hour, NEW.burst, NEW.is_active, NEW.expires_at, NEW.revoked_at,
     NEW.allowed_cidrs)
) EXECUTE FUNCTION notify_key_news();

GRANT UPDATE (allowed_cidrs, note, revoked_reason) ON api_key TO {role};

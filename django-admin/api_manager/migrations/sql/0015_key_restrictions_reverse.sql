-- As 0003_key_news made it.
DROP TRIGGER api_key_changed ON api_key;
CREATE TRIGGER api_key_changed AFTER UPDATE ON api_key
FOR EACH ROW WHEN (
    (OLD.tier_id, OLD.requests_per_hour, OLD.burst, OLD.is_active, OLD.expires_at, OLD.revoked_at)
    IS DISTINCT FROM
    (NEW.tier_id, NEW.requests_per_hour, NEW.burst, NEW.is_active, NEW.expires_at, NEW.revoked_at)
) EXECUTE FUNCTION notify_key_news();

ALTER TABLE api_key DROP CONSTRAINT api_key_allowed_cidrs_check;
ALTER TABLE api_key DROP CONSTRAINT api_key_note_check;
ALTER TABLE api_key DROP CONSTRAINT api_key_revoked_reason_check;

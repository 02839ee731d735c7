-- As 0003_key_news made it.
DROP TRIGGER tier_changed ON tier;
CREATE TRIGGER tier_changed AFTER UPDATE ON tier
FOR EACH ROW WHEN (
    (OLD.name, OLD.requests_per_hour, OLD.burst) IS DISTINCT FROM (NEW.name, NEW.requests_per_hour, NEW.burst)
) EXECUTE FUNCTION notify_key_news();

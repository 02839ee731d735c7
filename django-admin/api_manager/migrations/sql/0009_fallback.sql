-- What a tier's keys do without Redis is news, too.
DROP TRIGGER tier_changed ON tier;
CREATE TRIGGER tier_changed AFTER UPDATE ON tier
FOR EACH ROW WHEN (
    (OLD.name, OLD.requests_per_hour, OLD.burst, OLD.fallback)
    IS DISTINCT FROM
    (NEW.name, NEW.requests_per_hour, NEW.burst, NEW.fallback)
) EXECUTE FUNCTION notify_key_news();

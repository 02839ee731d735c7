-- An edit of a limit is an edit of its tier or key. By a key's updated_at a worker that did not listen finds the
-- copies that are out of date; by both a worker knows since when a key may have a quota. As the owner: the API's
-- role may not write these columns.
CREATE FUNCTION touch_limited() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    IF TG_TABLE_NAME = 'tier_limit' THEN
        UPDATE public.tier SET updated_at = statement_timestamp() WHERE id IN (OLD.tier_id, NEW.tier_id);
    ELSE
        UPDATE public.api_key SET updated_at = statement_timestamp()
        WHERE id IN (OLD.api_key_id, NEW.api_key_id);
    END IF;
    RETURN NULL;
END
$$;

REVOKE ALL ON FUNCTION touch_limited() FROM PUBLIC;

CREATE TRIGGER tier_limit_touch AFTER INSERT OR UPDATE OR DELETE ON tier_limit
FOR EACH ROW EXECUTE FUNCTION touch_limited();

CREATE TRIGGER key_limit_touch AFTER INSERT OR UPDATE OR DELETE ON key_limit
FOR EACH ROW EXECUTE FUNCTION touch_limited();

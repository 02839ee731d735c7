GRANT SELECT ON tier_limit, key_limit TO {role};
-- A key's own numbers are the management API's to set, as its rate is; they are not history, so they may go.
GRANT INSERT (api_key_id, name, requests, burst), UPDATE (requests, burst), DELETE ON key_limit TO {role};

-- A tier's limits are news for all; a key's own for that key and those it replaces, as with the key's rate
-- (0006_chain_news). On a rotation they come with the new key. Where an UPDATE moves one, both ends hear of it.
CREATE FUNCTION notify_limit_news() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    edited bigint;
    replaced bigint;
BEGIN
    IF TG_TABLE_NAME = 'tier_limit' THEN
        PERFORM pg_notify('key_news', 'all');
        RETURN NULL;
    END IF;
    FOREACH edited IN ARRAY ARRAY[OLD.api_key_id, NEW.api_key_id] LOOP
        CONTINUE WHEN edited IS NULL;
        PERFORM pg_notify('key_news', edited::text);
        SELECT replaces_id INTO replaced FROM public.api_key WHERE id = edited;
        WHILE replaced IS NOT NULL AND replaced <> edited LOOP
            PERFORM pg_notify('key_news', replaced::text);
            SELECT replaces_id INTO replaced FROM public.api_key WHERE id = replaced;
        END LOOP;
    END LOOP;
    RETURN NULL;
END
$$;

CREATE TRIGGER tier_limit_set AFTER INSERT OR DELETE ON tier_limit
FOR EACH ROW EXECUTE FUNCTION notify_limit_news();

CREATE TRIGGER tier_limit_changed AFTER UPDATE ON tier_limit
FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION notify_limit_news();

CREATE TRIGGER key_limit_set AFTER INSERT OR DELETE ON key_limit
FOR EACH ROW EXECUTE FUNCTION notify_limit_news();

CREATE TRIGGER key_limit_changed AFTER UPDATE ON key_limit
FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION notify_limit_news();

-- A chain has the limits of its newest key, so a rotation must take a key's own along: here, since both
-- services rotate, and an API of before this version knows nothing of them.
CREATE FUNCTION inherit_key_limits() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    INSERT INTO public.key_limit (api_key_id, name, requests, burst)
    SELECT NEW.id, name, requests, burst FROM public.key_limit WHERE api_key_id = NEW.replaces_id ORDER BY id;
    RETURN NULL;
END
$$;

REVOKE ALL ON FUNCTION inherit_key_limits() FROM PUBLIC;

CREATE TRIGGER api_key_inherited AFTER INSERT ON api_key
FOR EACH ROW WHEN (NEW.replaces_id IS NOT NULL) EXECUTE FUNCTION inherit_key_limits();

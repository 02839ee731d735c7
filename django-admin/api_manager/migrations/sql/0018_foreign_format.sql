-- The API reads the formats, and learns of a change as of a tier's: it reads everything again.
GRANT SELECT ON foreign_format TO {role};

CREATE FUNCTION notify_all_keys() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('key_news', 'all');
    RETURN NULL;
END
$$;

CREATE TRIGGER foreign_format_changed AFTER INSERT OR UPDATE OR DELETE ON foreign_format
FOR EACH STATEMENT EXECUTE FUNCTION notify_all_keys();

-- An import of a million keys is one piece of news, not a million: so new keys are announced by statement. A
-- new key that replaces others is announced as before, for it is news of these, too.
CREATE FUNCTION notify_new_keys() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT count(*) FROM added) > 1000 THEN
        PERFORM pg_notify('key_news', 'all');
    ELSE
        PERFORM pg_notify('key_news', id::text) FROM added WHERE replaces_id IS NULL;
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER api_key_inserted AFTER INSERT ON api_key
FOR EACH ROW WHEN (NEW.replaces_id IS NOT NULL) EXECUTE FUNCTION notify_key_news();

CREATE TRIGGER api_keys_inserted AFTER INSERT ON api_key REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION notify_new_keys();

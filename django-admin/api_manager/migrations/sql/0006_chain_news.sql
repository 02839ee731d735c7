-- The newest key of a chain of rotations gives all its keys their limits, so news of a key is news of every
-- key that it replaces, from its first appearance on. The payloads stay as they were.
-- The table is named with its schema: whoever edits a key may have another search_path.
CREATE OR REPLACE FUNCTION notify_key_news() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    replaced bigint;
BEGIN
    IF TG_TABLE_NAME = 'tier' THEN
        PERFORM pg_notify('key_news', 'all');
        RETURN NULL;
    END IF;
    PERFORM pg_notify('key_news', NEW.id::text);
    replaced := NEW.replaces_id;
    -- Ends even on a ring, which an INSERT can make: replaces_id is unique, so a ring leads back to NEW.
    WHILE replaced IS NOT NULL AND replaced <> NEW.id LOOP
        PERFORM pg_notify('key_news', replaced::text);
        SELECT replaces_id INTO replaced FROM public.api_key WHERE id = replaced;
    END LOOP;
    RETURN NULL;
END
$$;

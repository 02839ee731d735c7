-- As 0003_key_news made it: to the letter, a test compares them.
CREATE OR REPLACE FUNCTION notify_key_news() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('key_news', CASE TG_TABLE_NAME WHEN 'tier' THEN 'all' ELSE NEW.id::text END);
    RETURN NULL;
END
$$;

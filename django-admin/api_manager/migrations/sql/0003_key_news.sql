-- What must hold of a key whoever edits it, and the news of every edit.

-- updated_at is kept here, so that it is true of edits made by either service and by psql.
CREATE FUNCTION touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := statement_timestamp();
    RETURN NEW;
END
$$;

CREATE TRIGGER tier_touch BEFORE UPDATE ON tier
FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION touch_updated_at();

CREATE TRIGGER api_key_touch BEFORE UPDATE ON api_key
FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION touch_updated_at();

-- A key is never deleted, revoking is final, and neither its secret nor its chain changes.
CREATE FUNCTION guard_api_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'API key % cannot be deleted: revoke it', OLD.id
            USING ERRCODE = 'restrict_violation';
    END IF;
    IF OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS DISTINCT FROM OLD.revoked_at THEN
        RAISE EXCEPTION 'API key % is revoked, which is final', OLD.id
            USING ERRCODE = 'restrict_violation';
    END IF;
    IF (NEW.id, NEW.digest, NEW.hint, NEW.replaces_id) IS DISTINCT FROM
       (OLD.id, OLD.digest, OLD.hint, OLD.replaces_id) THEN
        RAISE EXCEPTION 'id, digest, hint and replaces of API key % cannot change', OLD.id
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER api_key_guard BEFORE UPDATE OR DELETE ON api_key
FOR EACH ROW EXECUTE FUNCTION guard_api_key();

-- The payload is a key's id, or 'all' for a tier; each API worker listens and drops what it cached.
CREATE FUNCTION notify_key_news() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('key_news', CASE TG_TABLE_NAME WHEN 'tier' THEN 'all' ELSE NEW.id::text END);
    RETURN NULL;
END
$$;

CREATE TRIGGER api_key_inserted AFTER INSERT ON api_key
FOR EACH ROW EXECUTE FUNCTION notify_key_news();

CREATE TRIGGER api_key_changed AFTER UPDATE ON api_key
FOR EACH ROW WHEN (
    (OLD.tier_id, OLD.requests_per_hour, OLD.burst, OLD.is_active, OLD.expires_at, OLD.revoked_at)
    IS DISTINCT FROM
    (NEW.tier_id, NEW.requests_per_hour, NEW.burst, NEW.is_active, NEW.expires_at, NEW.revoked_at)
) EXECUTE FUNCTION notify_key_news();

CREATE TRIGGER tier_changed AFTER UPDATE ON tier
FOR EACH ROW WHEN (
    (OLD.name, OLD.requests_per_hour, OLD.burst) IS DISTINCT FROM (NEW.name, NEW.requests_per_hour, NEW.burst)
) EXECUTE FUNCTION notify_key_news();

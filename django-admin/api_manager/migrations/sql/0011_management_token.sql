-- A management token is never deleted, revoking is final, and neither its secret nor what it opens changes.
CREATE FUNCTION guard_management_token() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'management token % cannot be deleted: revoke it', OLD.id
            USING ERRCODE = 'restrict_violation';
    END IF;
    IF OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS DISTINCT FROM OLD.revoked_at THEN
        RAISE EXCEPTION 'management token % is revoked, which is final', OLD.id
            USING ERRCODE = 'restrict_violation';
    END IF;
    IF (NEW.id, NEW.name, NEW.digest, NEW.hint, NEW.scopes, NEW.replaces_id) IS DISTINCT FROM
       (OLD.id, OLD.name, OLD.digest, OLD.hint, OLD.scopes, OLD.replaces_id) THEN
        RAISE EXCEPTION 'id, name, digest, hint, scopes and replaces of management token % cannot change', OLD.id
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER management_token_guard BEFORE UPDATE OR DELETE ON management_token
FOR EACH ROW EXECUTE FUNCTION guard_management_token();

-- The API reads them, and says when one was last used.
GRANT SELECT, UPDATE (last_used_at) ON management_token TO {role};

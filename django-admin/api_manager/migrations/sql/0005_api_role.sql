-- What the API service may do; {role} is the setting API_DATABASE_ROLE.
-- No DDL, no DELETE, nothing of Django's own tables. Column by column where a whole table is too much.

GRANT USAGE ON SCHEMA public TO {role};

GRANT SELECT ON tier TO {role};
GRANT SELECT, INSERT ON api_key TO {role};
GRANT UPDATE (name, owner_email, tier_id, requests_per_hour, burst, is_active, expires_at, revoked_at)
    ON api_key TO {role};
GRANT INSERT ON audit_event TO {role};

GRANT INSERT ON request_log TO {role};
GRANT USAGE ON SEQUENCE request_log_id_seq TO {role};
GRANT EXECUTE ON FUNCTION request_log_add_partitions(integer) TO {role};
GRANT EXECUTE ON FUNCTION request_log_drop_partitions(integer) TO {role};
GRANT SELECT, INSERT, UPDATE ON usage_hourly, key_activity, drain_cursor TO {role};

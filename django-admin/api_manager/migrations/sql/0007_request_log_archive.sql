-- Drops the days of the log that lie more than retention_days ago; returns how many.
-- archived_only: but keeps a day until all of its rows are in an archive. Rows that came after the archive
-- was written make it worthless, so that archive_requests writes that day again.
-- A day that was loaded back stays until its kept_until. Rows that never got a partition go with their day.
-- Beside the function of one argument, which the version before calls, and not in its place.
CREATE FUNCTION request_log_drop_partitions(retention_days integer, archived_only boolean) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET timezone = 'UTC'
SET lock_timeout = '5s'
AS $$
DECLARE
    oldest date := current_date - retention_days;
    expired date;
    archive public.request_log_archive;
    present bigint;
    droppable date[] := '{}';
    dropped integer := 0;
BEGIN
    IF retention_days < 1 THEN
        RAISE EXCEPTION 'retention_days must be at least 1, not %', retention_days;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('request_log partitions'));
    FOR expired IN
        SELECT to_date(right(relname, 8), 'YYYYMMDD')
        FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = 'public.request_log'::regclass
          AND relname ~ '^request_log_\d{8}$'
          AND to_date(right(relname, 8), 'YYYYMMDD') < oldest
        UNION
        SELECT DISTINCT "timestamp"::date FROM public.request_log_default WHERE "timestamp" < oldest::timestamptz
    LOOP
        SELECT * INTO archive FROM public.request_log_archive WHERE day = expired;
        CONTINUE WHEN archive.kept_until > now();
        IF archived_only THEN
            CONTINUE WHEN archive.day IS NULL;
            SELECT count(*) INTO present FROM public.request_log
            WHERE "timestamp" >= expired::timestamptz AND "timestamp" < (expired + 1)::timestamptz;
            IF present > archive.rows THEN
                DELETE FROM public.request_log_archive WHERE day = expired;
                CONTINUE;
            END IF;
        END IF;
        droppable := droppable || expired;
    END LOOP;
    -- Only now: from the first DROP to the end nobody else gets at the log.
    FOREACH expired IN ARRAY droppable LOOP
        EXECUTE format('DROP TABLE IF EXISTS public.%I', 'request_log_' || to_char(expired, 'YYYYMMDD'));
        DELETE FROM public.request_log_default
        WHERE "timestamp" >= expired::timestamptz AND "timestamp" < (expired + 1)::timestamptz;
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END
$$;

REVOKE ALL ON FUNCTION request_log_drop_partitions(integer, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION request_log_drop_partitions(integer, boolean) TO {role};

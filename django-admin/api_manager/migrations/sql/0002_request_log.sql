-- The request log, partitioned by UTC day on "timestamp".
-- No foreign key: the drain's COPY must never wait for a lock on api_key.
-- A sequence rather than an identity column: before PostgreSQL 17 a partitioned table cannot have one.

CREATE SEQUENCE request_log_id_seq AS bigint;

CREATE TABLE request_log (
    id bigint NOT NULL DEFAULT nextval('request_log_id_seq'),
    api_key_id bigint NOT NULL,
    endpoint varchar(200) NOT NULL,
    status_code smallint NOT NULL,
    cost bigint NOT NULL,
    remaining bigint,
    count integer NOT NULL DEFAULT 1,
    client_ip inet,
    "timestamp" timestamp with time zone NOT NULL,
    CONSTRAINT request_log_pkey PRIMARY KEY (id, "timestamp"),
    CONSTRAINT request_log_status_code_check CHECK (status_code >= 100 AND status_code <= 599),
    CONSTRAINT request_log_cost_check CHECK (cost >= 1),
    CONSTRAINT request_log_count_check CHECK (count = 1 OR (count > 1 AND status_code >= 400))
) PARTITION BY RANGE ("timestamp");

ALTER SEQUENCE request_log_id_seq OWNED BY request_log.id;

CREATE INDEX request_log_key_timestamp_idx ON request_log (api_key_id, "timestamp");
CREATE INDEX request_log_timestamp_idx ON request_log ("timestamp", id);

-- Where a row goes whose day has no partition yet: late, never lost.
CREATE TABLE request_log_default PARTITION OF request_log DEFAULT;

-- Makes the partitions from yesterday to days_ahead days from now; returns how many were new.
-- Built aside and attached, so that writers of other days never wait; rows of that day that
-- went to the default partition are moved along.
CREATE FUNCTION request_log_add_partitions(days_ahead integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET timezone = 'UTC'
SET lock_timeout = '5s'
AS $$
DECLARE
    day date;
    partition text;
    added integer := 0;
BEGIN
    IF days_ahead NOT BETWEEN 0 AND 366 THEN
        RAISE EXCEPTION 'days_ahead must be from 0 to 366, not %', days_ahead;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('request_log partitions'));
    FOR day IN SELECT current_date + n FROM generate_series(-1, days_ahead) AS n LOOP
        partition := 'request_log_' || to_char(day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass('public.' || partition) IS NOT NULL;
        EXECUTE format('CREATE TABLE public.%I (LIKE public.request_log INCLUDING ALL)', partition);
        EXECUTE format(
            'WITH moved AS (DELETE FROM public.request_log_default'
            ' WHERE "timestamp" >= %L AND "timestamp" < %L RETURNING *)'
            ' INSERT INTO public.%I SELECT * FROM moved',
            day::timestamptz, (day + 1)::timestamptz, partition);
        EXECUTE format(
            'ALTER TABLE public.request_log ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
            partition, day::timestamptz, (day + 1)::timestamptz);
        added := added + 1;
    END LOOP;
    RETURN added;
END
$$;

-- Drops the partitions of days more than retention_days ago; returns how many.
CREATE FUNCTION request_log_drop_partitions(retention_days integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET timezone = 'UTC'
SET lock_timeout = '5s'
AS $$
DECLARE
    oldest date := current_date - retention_days;
    partition text;
    dropped integer := 0;
BEGIN
    IF retention_days < 1 THEN
        RAISE EXCEPTION 'retention_days must be at least 1, not %', retention_days;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('request_log partitions'));
    FOR partition IN
        SELECT relname
        FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = 'public.request_log'::regclass
          AND relname ~ '^request_log_\d{8}$'
          AND to_date(right(relname, 8), 'YYYYMMDD') < oldest
    LOOP
        EXECUTE format('DROP TABLE public.%I', partition);
        dropped := dropped + 1;
    END LOOP;
    DELETE FROM public.request_log_default WHERE "timestamp" < oldest::timestamptz;
    RETURN dropped;
END
$$;

REVOKE ALL ON FUNCTION request_log_add_partitions(integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION request_log_drop_partitions(integer) FROM PUBLIC;

SELECT request_log_add_partitions(7);

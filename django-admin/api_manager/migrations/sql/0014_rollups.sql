-- The drain adds to the roll-ups as to usage_hourly.
GRANT SELECT, INSERT, UPDATE ON usage_minutely, usage_daily, endpoint_hourly TO {role};

-- Removes minutes that are over two days old, the oldest first, most_rows of them at most; returns how many.
-- The API's role may delete nothing itself. Several drains may call it at once: each takes what no other has.
CREATE FUNCTION usage_minutely_trim(most_rows integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    trimmed integer;
BEGIN
    IF most_rows < 1 THEN
        RAISE EXCEPTION 'most_rows must be at least 1, not %', most_rows;
    END IF;
    DELETE FROM public.usage_minutely WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM public.usage_minutely WHERE minute < now() - interval '2 days'
        ORDER BY minute LIMIT most_rows FOR UPDATE SKIP LOCKED
    ));
    GET DIAGNOSTICS trimmed = ROW_COUNT;
    RETURN trimmed;
END
$$;

REVOKE ALL ON FUNCTION usage_minutely_trim(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION usage_minutely_trim(integer) TO {role};

-- What was there before the roll-ups were, as far as the hours tell it.
INSERT INTO usage_daily (day, api_key_id, allowed, limited, cost)
SELECT (hour AT TIME ZONE 'UTC')::date, api_key_id, sum(allowed), sum(limited), sum(cost)
FROM usage_hourly
GROUP BY 1, 2;

INSERT INTO endpoint_hourly (hour, endpoint, allowed, limited, cost)
SELECT hour, CASE WHEN rank <= 100 THEN endpoint ELSE '(other)' END, sum(allowed), sum(limited), sum(cost)
FROM (
    SELECT hour, endpoint, sum(allowed) AS allowed, sum(limited) AS limited, sum(cost) AS cost,
           row_number() OVER (PARTITION BY hour ORDER BY sum(allowed) + sum(limited) DESC, endpoint) AS rank
    FROM usage_hourly
    GROUP BY hour, endpoint
) AS ranked
GROUP BY 1, 2;

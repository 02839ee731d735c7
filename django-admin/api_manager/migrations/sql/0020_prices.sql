-- A handful of rows: to check them takes no time.
-- squawk-ignore constraint-missing-not-valid
ALTER TABLE tier ADD CONSTRAINT tier_price_check CHECK (
    price_per_month >= 0 AND price_per_month <= 99999999.9999
    AND price_per_thousand >= 0 AND price_per_thousand <= 99999999.9999
);
-- squawk-ignore constraint-missing-not-valid
ALTER TABLE tier ADD CONSTRAINT tier_included_requests_check CHECK (included_requests >= 0);

-- What a tier costs, and which tier and owner a key has, are noted whenever they change, whoever changes them:
-- a statement of a past month is drawn from these notes. Of a key's terms only those of the newest key of its
-- chain of rotations count, as with its limits. The functions act as their owner: the API's role changes keys,
-- and may write no terms.
CREATE FUNCTION note_tier_price() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    INSERT INTO public.tier_price
        (tier_id, tier_name, price_per_month, price_per_thousand, included_requests, valid_from)
    VALUES (NEW.id, NEW.name, NEW.price_per_month, NEW.price_per_thousand, NEW.included_requests,
            CASE TG_OP WHEN 'INSERT' THEN NEW.created_at ELSE clock_timestamp() END);
    RETURN NULL;
END
$$;

CREATE TRIGGER tier_price_first AFTER INSERT ON tier
FOR EACH ROW EXECUTE FUNCTION note_tier_price();

CREATE TRIGGER tier_price_changed AFTER UPDATE ON tier
FOR EACH ROW WHEN (
    (OLD.name, OLD.price_per_month, OLD.price_per_thousand, OLD.included_requests)
    IS DISTINCT FROM
    (NEW.name, NEW.price_per_month, NEW.price_per_thousand, NEW.included_requests)
) EXECUTE FUNCTION note_tier_price();

CREATE FUNCTION note_key_terms() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
    first bigint := NEW.id;
    replaced bigint := NEW.replaces_id;
BEGIN
    IF EXISTS (SELECT FROM public.api_key WHERE replaces_id = NEW.id) THEN
        RETURN NULL;
    END IF;
    -- Ends even on a ring, which an INSERT can make: replaces_id is unique, so a ring leads back to NEW.
    WHILE replaced IS NOT NULL AND replaced <> NEW.id LOOP
        first := replaced;
        SELECT replaces_id INTO replaced FROM public.api_key WHERE id = first;
    END LOOP;
    INSERT INTO public.key_terms (chain_id, tier_id, owner_email, ends_at, valid_from)
    VALUES (first, NEW.tier_id, lower(NEW.owner_email), least(NEW.revoked_at, NEW.expires_at),
            CASE TG_OP WHEN 'INSERT' THEN NEW.created_at ELSE clock_timestamp() END);
    RETURN NULL;
END
$$;

CREATE TRIGGER key_terms_first AFTER INSERT ON api_key
FOR EACH ROW EXECUTE FUNCTION note_key_terms();

CREATE TRIGGER key_terms_changed AFTER UPDATE ON api_key
FOR EACH ROW WHEN (
    (OLD.tier_id, lower(OLD.owner_email), OLD.expires_at, OLD.revoked_at)
    IS DISTINCT FROM
    (NEW.tier_id, lower(NEW.owner_email), NEW.expires_at, NEW.revoked_at)
) EXECUTE FUNCTION note_key_terms();

-- What is known of before: it cost nothing, and each key had what it has now.
INSERT INTO tier_price (tier_id, tier_name, valid_from)
SELECT id, name, created_at FROM tier;

INSERT INTO key_terms (chain_id, tier_id, owner_email, ends_at, valid_from)
WITH RECURSIVE chain (key_id, chain_id) AS (
    SELECT id, id FROM api_key WHERE replaces_id IS NULL
    UNION ALL
    SELECT key.id, chain.chain_id FROM api_key AS key JOIN chain ON key.replaces_id = chain.key_id
)
SELECT chain_id, key.tier_id, lower(key.owner_email), least(key.revoked_at, key.expires_at), first.created_at
FROM chain
JOIN api_key AS key ON key.id = chain.key_id
JOIN api_key AS first ON first.id = chain.chain_id
WHERE NOT EXISTS (SELECT FROM api_key AS newer WHERE newer.replaces_id = key.id);

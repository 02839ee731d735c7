-- As it was before: only these triggers call the functions.
DROP TRIGGER tier_price_first ON tier;
DROP TRIGGER tier_price_changed ON tier;
DROP TRIGGER key_terms_first ON api_key;
DROP TRIGGER key_terms_changed ON api_key;
-- squawk-ignore ban-drop-function
DROP FUNCTION note_tier_price();
-- squawk-ignore ban-drop-function
DROP FUNCTION note_key_terms();
ALTER TABLE tier DROP CONSTRAINT tier_price_check;
ALTER TABLE tier DROP CONSTRAINT tier_included_requests_check;

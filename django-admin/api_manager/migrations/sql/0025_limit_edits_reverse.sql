-- Only triggers call it, which go along.
-- squawk-ignore ban-drop-function
DROP FUNCTION touch_limited() CASCADE;

-- Only triggers call them, which go along.
-- squawk-ignore ban-drop-function
DROP FUNCTION inherit_key_limits() CASCADE;
-- squawk-ignore ban-drop-function
DROP FUNCTION notify_limit_news() CASCADE;

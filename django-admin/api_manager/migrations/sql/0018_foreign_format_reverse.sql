-- Every new key is announced by itself again. Nobody calls the functions but the triggers that go with them.
DROP TRIGGER api_keys_inserted ON api_key;
-- squawk-ignore ban-drop-function
DROP FUNCTION notify_new_keys();
CREATE OR REPLACE TRIGGER api_key_inserted AFTER INSERT ON api_key
FOR EACH ROW EXECUTE FUNCTION notify_key_news();
DROP TRIGGER foreign_format_changed ON foreign_format;
-- squawk-ignore ban-drop-function
DROP FUNCTION notify_all_keys();

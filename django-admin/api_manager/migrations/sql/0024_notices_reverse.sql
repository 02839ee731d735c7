-- Only triggers call them, which go along.
-- squawk-ignore ban-drop-function
DROP FUNCTION note_key_act() CASCADE;
-- squawk-ignore ban-drop-function
DROP FUNCTION key_in_notice(bigint);
-- squawk-ignore ban-drop-function
DROP FUNCTION deliver_notice() CASCADE;

-- As 0022_tier_rules made it; it knows no webhooks.
DELETE FROM audit_event WHERE target_type = 'webhook';
ALTER TABLE audit_event
    DROP CONSTRAINT audit_event_target_type_check,
    -- squawk-ignore constraint-missing-not-valid
    ADD CONSTRAINT audit_event_target_type_check
        CHECK (target_type IN ('key', 'tier', 'database', 'token', 'user', 'group', 'rule'));

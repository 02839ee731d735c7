-- What a restore settles in the database that was restored, before that takes the place of the present one.
-- The schema `present` holds what the present database knew last, or nothing if it could not be read.
--
-- file, made_at  the dump's name, and when it was made
-- is_readable    whether the present database could be read
-- gap            how far to number on where nobody knows which numbers were given away
--
-- Returns pairs of a name and a number. One transaction.

ALTER TABLE present.api_key ADD new_id bigint;
CREATE INDEX ON present.api_key (digest);
ANALYZE present.api_key;

-- What became of these since, revoked or not, is not known.
SELECT count(*) AS unknown FROM public.api_key AS restored
WHERE NOT EXISTS (SELECT FROM present.api_key AS p WHERE p.digest = restored.digest) \gset

-- Buckets, records in the stream and archives name keys and rows by their number: none is given a second time.
SELECT setval(
    name::regclass,
    greatest(s.last_value, p.last_value, 1)
        + CASE WHEN :unknown > 0 OR NOT :'is_readable'::boolean THEN :gap ELSE 0 END
) AS numbered
FROM (VALUES ('api_key_id_seq'), ('tier_id_seq'), ('management_token_id_seq'), ('request_log_id_seq'),
             ('audit_event_id_seq')) AS ours (name)
JOIN pg_sequences AS s ON s.schemaname = 'public' AND s.sequencename = name
LEFT JOIN present.sequence AS p USING (name)
\g /dev/null

-- The audit is never shortened. Of another platform's we want nothing.
INSERT INTO public.audit_event (
    id, "timestamp", actor, action, target_type, target_id, detail, client_ip, request_id
)
SELECT * FROM present.audit_event AS p
WHERE :unknown = 0 AND NOT EXISTS (SELECT FROM public.audit_event AS a WHERE a.id = p.id);

-- What was archived since is whole in its file: a day of which rows are missing now is not written over it.
INSERT INTO public.request_log_archive (day, rows, sha256, archived_at, kept_until)
SELECT day, rows, sha256, archived_at, kept_until FROM present.request_log_archive
WHERE :unknown = 0
ON CONFLICT (day) DO UPDATE SET rows = excluded.rows, sha256 = excluded.sha256, archived_at = excluded.archived_at;

-- Whose owner was erased since has him again, as the file has it: until he is erased anew, no new address is written.
INSERT INTO public.erased_key (api_key_id)
SELECT DISTINCT target_id FROM public.audit_event WHERE target_type = 'key' AND action = 'erased'
ON CONFLICT DO NOTHING;

-- Whoever was locked out since, or changed his password, does not get in again by the old one.
UPDATE public.auth_user AS u
SET password = p.password, is_active = u.is_active AND p.is_active, is_staff = u.is_staff AND p.is_staff,
    is_superuser = u.is_superuser AND p.is_superuser
FROM present.operator AS p
WHERE :unknown = 0 AND p.username = u.username;

UPDATE public.auth_user SET is_active = false
WHERE :unknown = 0 AND EXISTS (SELECT FROM present.operator)
  AND username NOT IN (SELECT username FROM present.operator);

-- A device that was lost since does not let its finder in, nor does one that was set up since keep its owner out.
DELETE FROM public.otp_static_statictoken AS t
USING public.otp_static_staticdevice AS d, public.auth_user AS u, present.second_factor AS p
WHERE :unknown = 0 AND d.id = t.device_id AND u.id = d.user_id AND p.username = u.username;

DELETE FROM public.otp_static_staticdevice AS d
USING public.auth_user AS u, present.second_factor AS p
WHERE :unknown = 0 AND u.id = d.user_id AND p.username = u.username;

DELETE FROM public.otp_totp_totpdevice AS d
USING public.auth_user AS u, present.second_factor AS p
WHERE :unknown = 0 AND u.id = d.user_id AND p.username = u.username;

INSERT INTO public.otp_totp_totpdevice (
    user_id, name, confirmed, key, step, t0, digits, tolerance, drift, last_t, throttling_failure_timestamp,
    throttling_failure_count, created_at, last_used_at
)
SELECT u.id, d.name, d.confirmed, d.key, d.step, d.t0, d.digits, d.tolerance, d.drift, d.last_t,
       d.throttling_failure_timestamp, d.throttling_failure_count, d.created_at, d.last_used_at
FROM present.second_factor AS p
JOIN public.auth_user AS u USING (username)
CROSS JOIN unnest(p.totp) AS device (row)
CROSS JOIN jsonb_populate_record(NULL::public.otp_totp_totpdevice, device.row) AS d
WHERE :unknown = 0;

INSERT INTO public.otp_static_staticdevice (
    user_id, name, confirmed, throttling_failure_timestamp, throttling_failure_count, created_at, last_used_at
)
SELECT u.id, d.name, d.confirmed, d.throttling_failure_timestamp, d.throttling_failure_count, d.created_at,
       d.last_used_at
FROM present.second_factor AS p
JOIN public.auth_user AS u USING (username)
CROSS JOIN jsonb_populate_record(NULL::public.otp_static_staticdevice, p.static) AS d
WHERE :unknown = 0 AND p.static IS NOT NULL;

INSERT INTO public.otp_static_statictoken (device_id, token)
SELECT d.id, code
FROM present.second_factor AS p
JOIN public.auth_user AS u USING (username)
JOIN public.otp_static_staticdevice AS d ON d.user_id = u.id
CROSS JOIN unnest(p.backup_codes) AS code
WHERE :unknown = 0;

-- Nor does anybody get back a permission that was taken from him since, or from a group of his.
DELETE FROM public.auth_user_groups AS m
USING public.auth_user AS u, public.auth_group AS g, present.operator AS p
WHERE :unknown = 0 AND u.id = m.user_id AND g.id = m.group_id AND p.username = u.username
  AND g.name <> ALL (p.groups);

DELETE FROM public.auth_user_user_permissions AS m
USING public.auth_user AS u, public.auth_permission AS a, public.django_content_type AS c, present.operator AS p
WHERE :unknown = 0 AND u.id = m.user_id AND a.id = m.permission_id AND c.id = a.content_type_id
  AND p.username = u.username
  AND c.app_label || '.' || c.model || '.' || a.codename <> ALL (p.permissions);

DELETE FROM public.auth_group_permissions AS m
USING public.auth_group AS g, public.auth_permission AS a, public.django_content_type AS c,
      present.operator_group AS p
WHERE :unknown = 0 AND g.id = m.group_id AND a.id = m.permission_id AND c.id = a.content_type_id
  AND p.name = g.name
  AND c.app_label || '.' || c.model || '.' || a.codename <> ALL (p.permissions);

INSERT INTO public.tier (name, requests_per_hour, burst, fallback, description, created_at, updated_at)
SELECT name, requests_per_hour, burst, fallback, description, created_at, updated_at FROM present.tier
WHERE name NOT IN (SELECT name FROM public.tier);

-- Keys that were issued since keep their number, unless a key of the file has it.
UPDATE present.api_key AS p SET new_id =
    CASE WHEN EXISTS (SELECT FROM public.api_key AS k WHERE k.id = p.id)
         THEN nextval('public.api_key_id_seq') ELSE p.id END
WHERE NOT EXISTS (SELECT FROM public.api_key AS k WHERE k.digest = p.digest);

INSERT INTO public.api_key (
    id, name, owner_email, hint, digest, tier_id, requests_per_hour, burst, is_active, expires_at, revoked_at,
    created_at, updated_at, allowed_cidrs, note, revoked_reason, replaces_id
)
SELECT new_id, name, owner_email, hint, digest, (SELECT t.id FROM public.tier AS t WHERE t.name = p.tier),
       requests_per_hour, burst, is_active, expires_at, revoked_at, created_at, updated_at,
       allowed_cidrs, note, revoked_reason,
       coalesce((SELECT r.new_id FROM present.api_key AS r WHERE r.digest = p.replaces),
                (SELECT k.id FROM public.api_key AS k WHERE k.digest = p.replaces
                 AND NOT EXISTS (SELECT FROM public.api_key AS other WHERE other.replaces_id = k.id)))
FROM present.api_key AS p
WHERE new_id IS NOT NULL;

INSERT INTO public.audit_event (actor, action, target_type, target_id, detail)
SELECT 'command:restore', 'restored', 'key', new_id,
       jsonb_build_object('hint', hint, 'file', :'file', 'reason', 'issued after the backup')
FROM present.api_key
WHERE new_id IS NOT NULL;

-- Keys that were stopped since are stopped again: revoked, paused, to end earlier, or held to networks.
CREATE TABLE present.stopped AS
SELECT k.id, k.hint,
       k.is_active AS was_active, k.is_active AND p.is_active AS is_active,
       k.expires_at AS expired_at, least(k.expires_at, p.expires_at) AS expires_at,
       CASE WHEN k.revoked_at IS NULL THEN p.revoked_at END AS newly_revoked_at,
       CASE WHEN k.revoked_at IS NULL THEN p.revoked_reason ELSE k.revoked_reason END AS revoked_reason,
       k.allowed_cidrs AS were_allowed,
       CASE WHEN p.allowed_cidrs = '{}' THEN k.allowed_cidrs ELSE p.allowed_cidrs END AS allowed_cidrs
FROM public.api_key AS k JOIN present.api_key AS p USING (digest)
WHERE (k.revoked_at IS NULL AND p.revoked_at IS NOT NULL)
   OR (k.is_active AND NOT p.is_active)
   OR least(k.expires_at, p.expires_at) IS DISTINCT FROM k.expires_at
   OR p.allowed_cidrs NOT IN ('{}', k.allowed_cidrs);

UPDATE public.api_key AS k
SET is_active = s.is_active, expires_at = s.expires_at, revoked_at = coalesce(k.revoked_at, s.newly_revoked_at),
    revoked_reason = s.revoked_reason, allowed_cidrs = s.allowed_cidrs
FROM present.stopped AS s
WHERE k.id = s.id;

INSERT INTO public.audit_event (actor, action, target_type, target_id, detail)
SELECT 'command:restore', CASE WHEN newly_revoked_at IS NULL THEN 'updated' ELSE 'revoked' END, 'key', id,
       jsonb_build_object('hint', hint, 'file', :'file', 'reason', 'stopped after the backup')
       || jsonb_build_object('changed', jsonb_strip_nulls(jsonb_build_object(
           'is_active', CASE WHEN was_active <> is_active THEN jsonb_build_array(was_active, is_active) END,
           'expires_at', CASE WHEN expires_at IS DISTINCT FROM expired_at
                              THEN jsonb_build_array(expired_at, expires_at) END,
           'allowed_cidrs', CASE WHEN allowed_cidrs <> were_allowed
                                 THEN jsonb_build_array(were_allowed, allowed_cidrs) END)))
FROM present.stopped;

-- Management tokens are as they are now: what was issued since works on, what was ended since stays so. One of
-- the file that the present database does not know may have been revoked since, and so it is.
CREATE TABLE present.unknown_token AS
SELECT id, hint FROM public.management_token AS t
WHERE NOT EXISTS (SELECT FROM present.management_token AS p WHERE p.digest = t.digest);

WITH revoked AS (
    UPDATE public.management_token AS t
    SET revoked_at = now()
    FROM present.unknown_token AS u
    WHERE u.id = t.id AND t.revoked_at IS NULL
    RETURNING t.id, t.hint
)
INSERT INTO public.audit_event (actor, action, target_type, target_id, detail)
SELECT 'command:restore', 'revoked', 'token', id,
       jsonb_build_object('hint', hint, 'file', :'file', 'reason', 'what became of it after the backup is not known')
FROM revoked;

WITH ended AS (
    UPDATE public.management_token AS t
    SET revoked_at = coalesce(t.revoked_at, p.revoked_at), expires_at = least(t.expires_at, p.expires_at)
    FROM present.management_token AS p
    WHERE p.digest = t.digest AND ((t.revoked_at IS NULL AND p.revoked_at IS NOT NULL)
                                   OR least(t.expires_at, p.expires_at) IS DISTINCT FROM t.expires_at)
    RETURNING t.id, t.hint, t.revoked_at
)
INSERT INTO public.audit_event (actor, action, target_type, target_id, detail)
SELECT 'command:restore', CASE WHEN revoked_at IS NULL THEN 'updated' ELSE 'revoked' END, 'token', id,
       jsonb_build_object('hint', hint, 'file', :'file', 'reason', 'ended after the backup')
FROM ended;

-- Another platform's names and numbers may be those of tokens in the file: of that one we want nothing.
WITH issued AS (
    INSERT INTO public.management_token (
        id, name, hint, digest, scopes, expires_at, revoked_at, last_used_at, created_at, replaces_id
    )
    SELECT id, name, hint, digest, scopes, expires_at, revoked_at, last_used_at, created_at,
           (SELECT old.id FROM present.management_token AS old WHERE old.digest = p.replaces)
    FROM present.management_token AS p
    WHERE NOT EXISTS (SELECT FROM present.unknown_token)
      AND NOT EXISTS (SELECT FROM public.management_token AS t WHERE t.digest = p.digest)
    RETURNING id, hint
)
INSERT INTO public.audit_event (actor, action, target_type, target_id, detail)
SELECT 'command:restore', 'restored', 'token', id,
       jsonb_build_object('hint', hint, 'file', :'file', 'reason', 'issued after the backup')
FROM issued;

-- All else is as the file has it. Some keys so end that worked a moment ago.
CREATE TABLE present.ended AS
SELECT k.id, k.hint
FROM public.api_key AS k JOIN present.api_key AS p USING (digest)
WHERE (p.is_active AND p.revoked_at IS NULL AND coalesce(p.expires_at > now(), true))
  AND NOT (k.is_active AND k.revoked_at IS NULL AND coalesce(k.expires_at > now(), true));

INSERT INTO public.audit_event (actor, action, target_type, target_id, detail)
SELECT 'command:restore', 'restored', 'database', 0, jsonb_build_object(
    'file', :'file',
    'made_at', :'made_at',
    'keys_issued_since_and_kept', (SELECT count(*) FROM present.api_key WHERE new_id IS NOT NULL),
    'keys_stopped_since_and_again', (SELECT count(*) FROM present.stopped),
    'keys_that_worked_and_no_longer_do', (
        SELECT coalesce(jsonb_agg(id), '[]') FROM (SELECT id FROM present.ended ORDER BY id LIMIT 1000) AS first
    ),
    'keys_whose_revocation_since_is_unknown', :unknown,
    'present_database_was_readable', :'is_readable'::boolean
);

SELECT 'kept', count(*) FROM present.api_key WHERE new_id IS NOT NULL
UNION ALL SELECT 'stopped', count(*) FROM present.stopped
UNION ALL SELECT 'ended', count(*) FROM present.ended
UNION ALL SELECT 'unknown', :unknown
UNION ALL SELECT 'unknown_tokens', count(*) FROM present.unknown_token;

DROP SCHEMA present CASCADE;

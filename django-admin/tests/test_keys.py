from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from api_manager import credentials, keys
from api_manager.audit import Actor
from api_manager.models import APIKey, AuditEvent

ACTOR = Actor("test:keys", "10.0.0.9", "request-1")
HOUR = timedelta(hours=1)


def events(key: APIKey) -> list[str]:
    rows = AuditEvent.objects.filter(target_type="key", target_id=key.pk).order_by("id")
    return [row.action for row in rows]


def test_only_the_digest_and_the_hint_of_a_new_key_are_stored(issue):
    issued = issue()
    key = APIKey.objects.get(pk=issued.key.pk)
    assert bytes(key.digest) == credentials.digest(issued.secret)
    assert key.hint == credentials.hint(issued.secret)
    assert issued.secret not in repr(issued)
    assert events(key) == ["created"]


@pytest.mark.parametrize("environment", ["", "Live", "a_b", "x" * 11])
def test_an_odd_environment_is_refused_and_nothing_is_stored(issue, environment):
    key = APIKey(name="x", tier=issue().key.tier)
    with pytest.raises(ValueError, match="environment"):
        keys.issue(key, ACTOR, environment=environment)
    assert APIKey.objects.count() == 1


def test_rotation_keeps_what_was_said_of_the_key_and_shortens_the_old_one(issue):
    expires_at = timezone.now() + timedelta(days=9)
    old = issue(
        owner_email="a@b.example",
        requests_per_hour=7,
        burst=9,
        expires_at=expires_at,
        is_active=False,
        allowed_cidrs=["10.0.0.0/8", "2001:db8::/32"],
        note="paid\nyearly",
    ).key
    before = timezone.now()
    issued = keys.rotate(old.pk, HOUR, ACTOR)
    old.refresh_from_db()
    new = APIKey.objects.get(pk=issued.key.pk)
    assert new.replaces == old
    for field in set(keys.FIELDS) - {"expires_at"}:
        assert getattr(new, field) == getattr(old, field)
    assert (new.allowed_cidrs, new.note) == (["10.0.0.0/8", "2001:db8::/32"], "paid\nyearly")
    assert new.expires_at == expires_at
    assert before + HOUR <= old.expires_at <= timezone.now() + HOUR
    assert bytes(new.digest) == credentials.digest(issued.secret) != bytes(old.digest)
    assert events(old) == ["created", "rotated"]
    assert events(new) == ["created"]
    event = AuditEvent.objects.get(action="rotated")
    assert (event.actor, event.client_ip, event.request_id) == ("test:keys", "10.0.0.9", "request-1")
    assert issued.secret not in str(list(AuditEvent.objects.values_list("detail", flat=True)))


def test_rotation_never_prolongs_the_old_key(issue):
    soon = timezone.now() + timedelta(minutes=5)
    old = issue(expires_at=soon).key
    keys.rotate(old.pk, HOUR, ACTOR)
    old.refresh_from_db()
    assert old.expires_at == soon


def test_rotation_without_grace_ends_the_old_key_at_once(issue):
    old = issue().key
    keys.rotate(old.pk, timedelta(), ACTOR)
    old.refresh_from_db()
    assert old.status == "expired"


def test_rotation_keeps_the_environment(issue):
    key = APIKey(name="x", tier=issue().key.tier)
    keys.issue(key, ACTOR, environment="test")
    assert keys.rotate(key.pk, HOUR, ACTOR).secret.startswith("rlk_test_")


def test_revoked_expired_and_replaced_keys_cannot_be_rotated(issue):
    revoked, replaced = issue().key, issue().key
    expired = issue(expires_at=datetime(2020, 1, 1, tzinfo=UTC)).key
    keys.revoke(revoked.pk, ACTOR)
    keys.rotate(replaced.pk, HOUR, ACTOR)
    count = APIKey.objects.count()
    for key, reason in ((revoked, "revoked"), (expired, "expired"), (replaced, "already")):
        with pytest.raises(keys.ConflictError, match=reason):
            keys.rotate(key.pk, HOUR, ACTOR)
    with pytest.raises(ValueError, match="grace"):
        keys.rotate(issue().key.pk, -HOUR, ACTOR)
    assert APIKey.objects.count() == count + 1


def test_revoking_twice_changes_nothing_the_second_time(issue):
    key = issue().key
    assert keys.revoke(key.pk, ACTOR, "leaked")
    key.refresh_from_db()
    revoked_at = key.revoked_at
    assert not keys.revoke(key.pk, ACTOR, "another reason")
    key.refresh_from_db()
    assert (key.revoked_at, key.revoked_reason) == (revoked_at, "leaked")
    assert AuditEvent.objects.get(action="revoked").detail == {"hint": key.hint, "reason": "leaked"}
    assert key.status == "revoked"
    assert events(key) == ["created", "revoked"]


def test_pausing_and_activating_are_audited_once_each(issue):
    key = issue().key
    assert [keys.pause(key.pk, ACTOR), keys.pause(key.pk, ACTOR)] == [True, False]
    assert APIKey.objects.get(pk=key.pk).status == "paused"
    assert [keys.activate(key.pk, ACTOR), keys.activate(key.pk, ACTOR)] == [True, False]
    assert events(key) == ["created", "paused", "activated"]


@pytest.mark.parametrize("operation", [keys.activate, keys.pause])
def test_a_revoked_key_is_neither_paused_nor_activated(issue, operation):
    key = issue().key
    keys.revoke(key.pk, ACTOR)
    with pytest.raises(keys.ConflictError, match="final"):
        operation(key.pk, ACTOR)
    assert events(key) == ["created", "revoked"]


def test_an_update_saves_only_what_it_names(issue):
    key = issue().key
    stale = APIKey.objects.get(pk=key.pk)
    keys.pause(key.pk, ACTOR)
    stale.name = "renamed"
    keys.update(stale, ["name"], ACTOR)
    key.refresh_from_db()
    assert (key.name, key.is_active) == ("renamed", False)
    event = AuditEvent.objects.get(action="updated")
    assert event.detail == {"changed": {"name": ["orders", "renamed"]}}


def test_of_many_rotations_at_once_one_succeeds(committed, issue_key):
    old = issue_key().key

    def attempt(_number: int) -> str:
        try:
            keys.rotate(old.pk, HOUR, ACTOR)
        except keys.ConflictError:
            return "refused"
        else:
            return "rotated"
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        outcomes = sorted(pool.map(attempt, range(4)))
    assert outcomes == ["refused", "refused", "refused", "rotated"]
    assert APIKey.objects.filter(replaces=old).count() == 1

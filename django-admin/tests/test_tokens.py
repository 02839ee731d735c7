from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError, InternalError, connection, transaction
from django.utils import timezone

from api_manager import credentials, keys, tokens
from api_manager.audit import Actor
from api_manager.models import AuditEvent, ManagementToken

ACTOR = Actor("test:tokens", "10.0.0.9", "request-1")
HOUR = timedelta(hours=1)


@pytest.fixture
def issue(issue_token):
    return issue_token


def events(token: ManagementToken) -> list[str]:
    rows = AuditEvent.objects.filter(target_type="token", target_id=token.pk).order_by("id")
    return [row.action for row in rows]


def execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def test_only_the_digest_and_the_hint_of_a_new_token_are_stored(issue):
    issued = issue(scopes=["keys:read", "metrics:read"])
    assert credentials.is_well_formed(issued.secret, credentials.MANAGEMENT_PREFIX)
    token = ManagementToken.objects.get(pk=issued.token.pk)
    assert bytes(token.digest) == credentials.digest(issued.secret)
    assert token.hint == credentials.hint(issued.secret)
    assert issued.secret not in repr(issued)
    [event] = AuditEvent.objects.all()
    assert (event.action, event.target_type, event.target_id) == ("created", "token", token.pk)
    assert event.detail == {
        "name": "ci",
        "scopes": ["keys:read", "metrics:read"],
        "expires_at": None,
        "hint": token.hint,
        "secret": "shown once",
    }


def test_rotation_keeps_name_scopes_and_expiry_and_shortens_the_old_token(issue):
    expires_at = timezone.now() + timedelta(days=9)
    old = issue(scopes=["metrics:read"], expires_at=expires_at).token
    before = timezone.now()
    issued = tokens.rotate(old.pk, HOUR, ACTOR)
    old.refresh_from_db()
    new = ManagementToken.objects.get(pk=issued.token.pk)
    assert new.replaces == old
    assert (new.name, new.scopes, new.expires_at) == ("ci", ["metrics:read"], expires_at)
    assert before + HOUR <= old.expires_at <= timezone.now() + HOUR
    assert bytes(new.digest) == credentials.digest(issued.secret) != bytes(old.digest)
    assert (events(old), events(new)) == (["created", "rotated"], ["created"])
    event = AuditEvent.objects.get(action="rotated")
    assert (event.actor, event.client_ip, event.request_id) == ("test:tokens", "10.0.0.9", "request-1")
    assert event.detail["replaced_by"] == new.pk
    assert issued.secret not in str(list(AuditEvent.objects.values_list("detail", flat=True)))


def test_rotation_never_prolongs_the_old_token(issue):
    soon = timezone.now() + timedelta(minutes=5)
    old = issue(expires_at=soon).token
    tokens.rotate(old.pk, HOUR, ACTOR)
    old.refresh_from_db()
    assert old.expires_at == soon


def adopt(secret: str) -> bool:
    return tokens.adopt(secret, ManagementToken(name="admin-site", scopes=["keys:read"]), ACTOR)


def test_a_secret_made_elsewhere_is_adopted_once_and_a_new_one_takes_its_place(db):
    first, second = (credentials.generate("live", credentials.MANAGEMENT_PREFIX) for _ in range(2))
    assert [adopt(first), adopt(first), adopt(second), adopt(second)] == [True, False, True, False]
    new, old = ManagementToken.objects.all()
    digests = [bytes(row.digest) for row in (old, new)]
    assert digests == [credentials.digest(secret) for secret in (first, second)]
    assert (new.scopes, new.hint, new.replaces) == (["keys:read"], credentials.hint(second), old)
    assert (old.status, new.status) == ("expired", "active")
    assert (events(old), events(new)) == (["created", "rotated"], ["created"])


def test_a_token_that_was_revoked_is_not_adopted_again(db):
    secret = credentials.generate("live", credentials.MANAGEMENT_PREFIX)
    adopt(secret)
    tokens.revoke(ManagementToken.objects.get().pk, ACTOR)
    assert not adopt(secret)
    assert ManagementToken.objects.get().status == "revoked"


def test_only_a_management_token_is_adopted(db):
    for secret in ("", "token-of-somebody", credentials.generate(), credentials.generate()[:-1] + "é"):
        with pytest.raises(ValueError, match="expected a management token: rlm_"):
            adopt(secret)
    assert not ManagementToken.objects.exists()


def test_revoked_expired_and_replaced_tokens_cannot_be_rotated(issue):
    revoked, replaced = issue("a").token, issue("b").token
    expired = issue("c", expires_at=timezone.now() - HOUR).token
    tokens.revoke(revoked.pk, ACTOR)
    tokens.rotate(replaced.pk, HOUR, ACTOR)
    count = ManagementToken.objects.count()
    for token, reason in ((revoked, "revoked"), (expired, "expired"), (replaced, "already")):
        with pytest.raises(keys.ConflictError, match=reason):
            tokens.rotate(token.pk, HOUR, ACTOR)
    with pytest.raises(ValueError, match="grace"):
        tokens.rotate(issue("d").token.pk, -HOUR, ACTOR)
    assert ManagementToken.objects.count() == count + 1


def test_revoking_twice_changes_nothing_the_second_time(issue):
    token = issue().token
    assert tokens.revoke(token.pk, ACTOR)
    token.refresh_from_db()
    revoked_at = token.revoked_at
    assert not tokens.revoke(token.pk, ACTOR)
    token.refresh_from_db()
    assert (token.revoked_at, token.status) == (revoked_at, "revoked")
    assert events(token) == ["created", "revoked"]


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "token"},
        {"name": ""},
        {"name": "Ci"},
        {"name": "a b"},
        {"scopes": []},
        {"scopes": ["keys:all"]},
        {"scopes": ["keys:read", None]},
        {"expires_at": datetime(9000, 1, 1, tzinfo=UTC)},
    ],
)
def test_the_database_refuses_what_no_form_would_let_through(issue, fields):
    with pytest.raises(IntegrityError), transaction.atomic():
        issue(**{"name": "ci"} | fields)


def test_a_name_belongs_to_one_chain(issue):
    tokens.revoke(issue("ci").token.pk, ACTOR)
    with pytest.raises(IntegrityError, match="management_token_name_key"), transaction.atomic():
        issue("ci")


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("DELETE FROM management_token", "cannot be deleted"),
        ("UPDATE management_token SET revoked_at = NULL", "final"),
        ("UPDATE management_token SET scopes = '{keys:write}'", "cannot change"),
        ("UPDATE management_token SET name = 'other'", "cannot change"),
        ("UPDATE management_token SET digest = sha256('x')", "cannot change"),
    ],
)
def test_what_a_token_is_never_changes_and_its_end_is_final(issue, statement, message):
    tokens.revoke(issue(scopes=["keys:read"]).token.pk, ACTOR)
    with pytest.raises((IntegrityError, InternalError), match=message), transaction.atomic():
        execute(statement)

"""Erasing an owner: nothing that identifies a person is left in the database, and no number changes."""

import sys
from datetime import UTC, datetime, timedelta
from io import StringIO

import psycopg2
import pytest
from django.contrib.admin.models import LogEntry
from django.core import serializers
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import Count, Sum

from api_manager import archive, erasure, keys
from api_manager.audit import Actor
from api_manager.models import APIKey, AuditEvent, ErasedKey, KeyTerms, RequestLog, UsageHourly

OWNER, ADDRESS = "ada@example.com", "203.0.113.77"
ACTOR = Actor("test:erasure")
NOW = datetime.now(UTC)


def erase_owner(email: str = OWNER, *options: str) -> str:
    call_command("erase_owner", email, "--yes", *options, stderr=(err := StringIO()))
    return err.getvalue()


def log(key: APIKey, number: int = 1, *, ago: timedelta = timedelta(), **fields) -> None:
    RequestLog.objects.bulk_create(
        RequestLog(
            **{"api_key": key, "endpoint": "/v1/orders", "status_code": 200, "cost": 2, "client_ip": ADDRESS}
            | {"timestamp": NOW - ago - timedelta(seconds=index // 3)}
            | fields
        )
        for index in range(number)
    )


def everything() -> str:
    """All rows of all tables that may know of a person, as text."""
    tables = (APIKey, AuditEvent, LogEntry, RequestLog, UsageHourly, ErasedKey, KeyTerms)
    return "\n".join(serializers.serialize("json", table.objects.all()) for table in tables)


def totals() -> list:
    usage = UsageHourly.objects.order_by("pk").values_list(
        "api_key", "endpoint", "allowed", "limited", "cost"
    )
    rows = RequestLog.objects.values_list("api_key", "status_code").annotate(Count("pk"), Sum("count"))
    return [list(usage), sorted(rows)]


@pytest.fixture
def person(site, issue):
    """Two keys of a person's, used, changed and rotated in the admin site, with rows and usage."""
    first = issue("Ada Lovelace", owner_email=OWNER).key
    page = f"/admin/api_manager/apikey/{first.pk}/change/"
    fields = {
        "name": "Ada's laptop",
        "owner_email": "Ada@Example.com",
        "tier": first.tier_id,
        "is_active": "on",
        "limits-TOTAL_FORMS": "0",
        "limits-INITIAL_FORMS": "0",
    }
    first.note, first.allowed_cidrs = "Lovelace, at home", ["198.51.100.7/32"]
    keys.update(first, ["note", "allowed_cidrs"], ACTOR)
    assert site.post(page, fields).status_code == 302
    second = keys.rotate(first.pk, timedelta(hours=1), ACTOR).key
    for key in (first, second):
        log(key, 12)
        log(key, 3, ago=timedelta(days=2), status_code=429, count=7)
        UsageHourly.objects.create(
            api_key=key, hour=NOW, endpoint="/v1/orders", allowed=12, limited=21, cost=24
        )
    return [first, second]


def test_what_identifies_a_person_goes_and_the_totals_stay(person, issue, monkeypatch):
    monkeypatch.setattr(erasure, "BATCH_ROWS", 5)
    other = issue("theirs", owner_email="bob@example.com").key
    log(other)
    before, everybody = totals(), everything()
    assert OWNER in everybody.lower()
    assert "Ada" in everybody

    keys.revoke(person[1].pk, ACTOR, "Ada has left")
    said = erase_owner(OWNER, "--revoke")
    left = everything()
    for trace in (OWNER, "ada@", "Ada", "Lovelace", "laptop", "198.51.100"):
        assert trace.lower() not in left.lower(), trace
    assert totals() == before
    assert [key.status for key in APIKey.objects.filter(pk__in=[key.pk for key in person])] == ["revoked"] * 2
    assert set(APIKey.objects.exclude(pk=other.pk).values_list("name", "owner_email")) == {
        (f"erased-{key.pk}", "") for key in person
    }
    addresses = RequestLog.objects.exclude(client_ip=None)
    assert [row.api_key_id for row in addresses] == [other.pk]
    assert "2 keys, 30 rows of the log with an address" in said
    assert "Erased: 2 keys, addresses in 30 rows" in said

    events = AuditEvent.objects.filter(action="erased").order_by("target_id")
    assert [(event.target_id, event.detail) for event in events] == [
        (key.pk, {"hint": key.hint}) for key in person
    ]
    assert {event.actor for event in events} == {"command:erase_owner"}


def test_doing_it_again_changes_nothing(person):
    erase_owner(OWNER, "--revoke")
    after = everything()
    assert "nothing to erase" in erase_owner(OWNER, "--revoke")
    assert everything() == after


@pytest.mark.parametrize("state", ["active", "paused", "expired"])
def test_keys_that_are_not_revoked_are_named_and_nothing_is_changed(issue, state):
    key = issue(owner_email=OWNER).key
    changes = {"paused": {"is_active": False}, "expired": {"expires_at": NOW - timedelta(days=1)}}
    APIKey.objects.filter(pk=key.pk).update(**changes.get(state, {"is_active": True}))
    log(key)
    before = everything()
    with pytest.raises(CommandError, match=rf"Not revoked: {key.pk} \({state}\).*say --revoke"):
        erase_owner()
    assert everything() == before
    with pytest.raises(erasure.ErasureError, match="Not revoked"):
        erasure.erase(OWNER, ACTOR, lambda _: None, revoke=False)
    assert everything() == before


def test_revoked_keys_need_no_word_more(issue):
    key = issue(owner_email=OWNER).key
    keys.revoke(key.pk, ACTOR)
    log(key)
    erase_owner()
    assert RequestLog.objects.get().client_ip is None


def test_a_run_that_was_cut_off_is_finished_by_the_next(person, monkeypatch):
    monkeypatch.setattr(erasure, "BATCH_ROWS", 3)

    def cut_off(done: int) -> None:
        if done >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        erasure.erase(OWNER, ACTOR, cut_off, revoke=True)
    assert RequestLog.objects.filter(client_ip=None).count() >= 6
    assert RequestLog.objects.exclude(client_ip=None).exists()
    erase_owner()
    assert not RequestLog.objects.exclude(client_ip=None).exists()
    assert OWNER not in everything().lower()


def test_a_former_owner_goes_from_the_audit_and_the_key_stays_as_it_is(site, issue):
    key = issue("shared", owner_email=OWNER).key
    fields = {"name": "shared", "owner_email": "bob@example.com", "tier": key.tier_id, "is_active": "on"}
    fields |= {"limits-TOTAL_FORMS": "0", "limits-INITIAL_FORMS": "0"}
    site.post(f"/admin/api_manager/apikey/{key.pk}/change/", fields)
    log(key)
    assert "0 keys, 0 rows" in erase_owner()
    assert OWNER not in everything()
    key.refresh_from_db()
    assert (key.name, key.owner_email, key.status) == ("shared", "bob@example.com", "active")
    assert RequestLog.objects.get().client_ip == ADDRESS
    changed = AuditEvent.objects.get(action="updated").detail["changed"]
    assert changed == {"owner_email": ["erased", "bob@example.com"]}


def test_an_archive_that_is_loaded_brings_no_address_back(person, tmp_path):
    day = (NOW - timedelta(days=2)).date()
    path, _ = archive.write(day, tmp_path, lambda _: None)
    erase_owner(OWNER, "--revoke")
    RequestLog.objects.filter(timestamp__date=day).delete()
    note = archive.load(path, timedelta(days=1), lambda _: None)
    assert note.rows == RequestLog.objects.filter(timestamp__date=day).count() > 0
    assert not RequestLog.objects.exclude(client_ip=None).exists()


def test_an_operators_account_is_named_and_left(person, operator):
    operator.email = OWNER
    operator.save()
    assert f"account {operator.username} has this address" in erase_owner(OWNER, "--revoke")
    operator.refresh_from_db()
    assert operator.email == OWNER


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "erased"), [("y\n", True), ("n\n", False), ("\n", False), ("", False)])
def test_it_asks_first_and_shows_how_far_it_is(person, monkeypatch, answer, erased):
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    before, err = everything(), Terminal()
    if erased:
        call_command("erase_owner", OWNER, "--revoke", stderr=err)
        assert "of 30 rows" in err.getvalue()
    else:
        with pytest.raises(CommandError, match="as you wished"):
            call_command("erase_owner", OWNER, "--revoke", stderr=err)
    assert "[y/N]" in err.getvalue()
    assert (everything() == before) is not erased


def test_nobody_is_asked_where_nobody_is(person, monkeypatch):
    monkeypatch.setattr(sys, "stdin", StringIO())
    with pytest.raises(CommandError, match="say --yes"):
        call_command("erase_owner", OWNER, "--revoke", stderr=StringIO())


@pytest.mark.parametrize("email", ["", "ada", "%@example.com x"])
def test_what_is_no_address_is_refused(db, email):
    with pytest.raises(CommandError, match="EMAIL: Enter a valid email address"):
        erase_owner(email)


def test_a_drain_that_stands_still_is_given_up_and_said(committed, issue_key, monkeypatch):
    monkeypatch.setattr(erasure, "_LOCK_TIMEOUT", "50ms")
    monkeypatch.setattr(erasure, "_LOCK_ATTEMPTS", 2)
    monkeypatch.setattr(erasure, "_LOCK_PAUSE_SECONDS", 0.01)
    key = issue_key("stuck", owner_email="stuck@example.com").key
    log(key)
    drain = psycopg2.connect(**connection.get_connection_params())
    with drain.cursor() as cursor:
        cursor.execute(f"SELECT pg_advisory_xact_lock_shared({erasure.LOCK})")
        with pytest.raises(CommandError, match="a drain, or load_archive, is in the midst"):
            erase_owner("stuck@example.com", "--revoke")
    drain.close()
    assert RequestLog.objects.filter(api_key=key).exclude(client_ip=None).exists()
    erase_owner("stuck@example.com")
    assert not RequestLog.objects.filter(api_key=key).exclude(client_ip=None).exists()


def test_no_transaction_is_long_and_no_key_is_left_half_done(committed, issue_key, monkeypatch):
    """Each batch is committed before the next one begins, and the owner goes last."""
    monkeypatch.setattr(erasure, "BATCH_ROWS", 10)
    key = issue_key("batches", owner_email="batches@example.com").key
    log(key, 30)
    watcher = psycopg2.connect(**connection.get_connection_params())
    watcher.autocommit = True
    seen = []

    def look(_done: int) -> None:
        with watcher.cursor() as cursor:
            cursor.execute(
                "SELECT (SELECT count(client_ip) FROM request_log WHERE api_key_id = k.id), owner_email"
                " FROM api_key AS k WHERE id = %s",
                [key.pk],
            )
            seen.append(cursor.fetchone())

    erasure.erase("batches@example.com", ACTOR, look, revoke=True)
    watcher.close()
    left = [rows for rows, _ in seen]
    assert left == sorted(left, reverse=True)
    assert len(left) >= 3
    assert left[-1] == 0
    assert {owner for _, owner in seen} == {"batches@example.com"}
    key.refresh_from_db()
    assert (key.name, key.owner_email) == (f"erased-{key.pk}", "")

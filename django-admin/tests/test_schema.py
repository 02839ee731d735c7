"""What the triggers guarantee, whoever writes: the ORM or plain SQL."""

import secrets
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import psycopg2
import pytest
from django.db import IntegrityError, InternalError, connection, transaction
from django.utils import timezone
from psycopg2 import extensions

from api_manager import keys
from api_manager.audit import Actor
from api_manager.models import APIKey, KeyLimit, Tier, TierLimit

REFUSED = (IntegrityError, InternalError)


def execute(statement: str, *parameters) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


@pytest.mark.parametrize("door", ["orm", "sql"])
def test_a_key_is_never_deleted(issue, door):
    key = issue().key
    with pytest.raises(REFUSED, match="cannot be deleted"), transaction.atomic():
        key.delete() if door == "orm" else execute("DELETE FROM api_key")
    assert APIKey.objects.filter(pk=key.pk).exists()


@pytest.mark.parametrize("door", ["orm", "sql"])
def test_revoking_is_final(issue, door):
    key = issue().key
    APIKey.objects.filter(pk=key.pk).update(revoked_at=timezone.now())
    undo = {
        "orm": lambda: APIKey.objects.filter(pk=key.pk).update(revoked_at=None),
        "sql": lambda: execute("UPDATE api_key SET revoked_at = now() + interval '1 day'"),
    }
    with pytest.raises(REFUSED, match="final"), transaction.atomic():
        undo[door]()


@pytest.mark.parametrize("column", ["digest = sha256('x')", "hint = 'x'", "id = id + 1000"])
def test_what_identifies_a_key_never_changes(issue, column):
    issue()
    with pytest.raises(REFUSED, match="cannot change"), transaction.atomic():
        execute(f"UPDATE api_key SET {column}")  # noqa: S608  # constants


def test_an_edit_moves_updated_at_and_a_save_without_change_does_not(committed, issue_key):
    key = issue_key(secrets.token_hex()).key
    key.refresh_from_db()
    created = key.updated_at
    key.save()
    key.refresh_from_db()
    assert key.updated_at == created
    key.name += "x"
    key.save()
    key.refresh_from_db()
    assert key.updated_at > created


@contextmanager
def listening() -> Iterator[Callable[[], list[str]]]:
    """Yields what tells the news that came since it was last asked."""
    listener = psycopg2.connect(**connection.get_connection_params())
    listener.set_isolation_level(extensions.ISOLATION_LEVEL_AUTOCOMMIT)
    listener.cursor().execute("LISTEN key_news")

    def news() -> list[str]:
        # Notifications keep the order of commits: once the mark has come, all before it have.
        mark = f"mark {secrets.token_hex(4)}"
        execute("SELECT pg_notify('key_news', %s)", mark)
        payloads: list[str] = []
        while mark not in payloads:
            assert select.select([listener], [], [], 10)[0], "no notification came"
            listener.poll()
            payloads += [notice.payload for notice in listener.notifies]
            listener.notifies.clear()
        return payloads[:-1]

    try:
        yield news
    finally:
        listener.close()


CACHED = {
    "tier_id": "(SELECT id FROM tier WHERE name = 'pro')",
    "requests_per_hour": "77",
    "burst": "77",
    "is_active": "NOT is_active",
    "expires_at": "now()",
    "revoked_at": "now()",
    "allowed_cidrs": "'{10.0.0.0/8}'",
}


@pytest.mark.parametrize("column", CACHED)
def test_sql_that_changes_what_is_cached_of_a_key_is_news(committed, issue_key, column):
    key = issue_key().key
    with listening() as news:
        execute(f"UPDATE api_key SET {column} = {CACHED[column]} WHERE id = %s", key.pk)  # noqa: S608  # constants
        assert news() == [str(key.pk)]


@pytest.mark.parametrize("field", CACHED)
def test_a_save_that_changes_what_is_cached_of_a_key_is_news(committed, issue_key, field):
    key = issue_key().key
    values = {
        "tier_id": Tier.objects.get(name="pro").pk,
        "requests_per_hour": 77,
        "burst": 77,
        "is_active": False,
        "expires_at": timezone.now(),
        "revoked_at": timezone.now(),
        "allowed_cidrs": ["10.0.0.0/8"],
    }
    setattr(key, field, values[field])
    with listening() as news:
        key.save()
        assert news() == [str(key.pk)]


def test_a_new_key_is_news(committed, issue_key):
    with listening() as news:
        assert news() == []
        key = issue_key().key
        assert news() == [str(key.pk)]


def test_news_of_a_key_is_news_of_those_it_replaces_and_of_none_that_replace_it(committed, issue_key):
    grace, actor = timedelta(hours=1), Actor("test")
    first = issue_key().key
    second = keys.rotate(first.pk, grace, actor).key
    with listening() as news:
        third = keys.rotate(second.pk, grace, actor).key
        assert set(news()) == {str(key.pk) for key in (first, second, third)}
        execute("UPDATE api_key SET burst = 7 WHERE id = %s", third.pk)
        assert news() == [str(key.pk) for key in (third, second, first)]
        execute("UPDATE api_key SET burst = 7 WHERE id = %s", second.pk)
        assert news() == [str(key.pk) for key in (second, first)]
        execute("UPDATE api_key SET burst = 7 WHERE id = %s", first.pk)
        assert news() == [str(first.pk)]


def test_a_search_path_without_the_schema_hinders_no_edit(committed, issue_key):
    first = issue_key().key
    second = keys.rotate(first.pk, timedelta(hours=1), Actor("test")).key
    with listening() as news:
        with transaction.atomic():
            execute("SET LOCAL search_path = ''")
            execute("UPDATE public.api_key SET burst = 7 WHERE id = %s", second.pk)
        assert news() == [str(second.pk), str(first.pk)]


def test_a_new_name_owner_or_note_is_no_news(committed, issue_key):
    key = issue_key().key
    with listening() as news:
        execute("UPDATE api_key SET name = 'other', owner_email = 'o@example.com' WHERE id = %s", key.pk)
        key.name, key.note = "third", "of the third"
        key.save()
        assert news() == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"requests_per_hour": 7}, ["all"]),
        ({"burst": 7}, ["all"]),
        ({"name": "renamed"}, ["all"]),
        ({"description": "other"}, []),
    ],
)
def test_a_tiers_limits_and_name_are_news_for_all_and_its_description_is_not(committed, change, expected):
    change = {
        name: value + secrets.token_hex(4) if isinstance(value, str) else value
        for name, value in change.items()
    }
    tier = Tier.objects.create(name=f"t{secrets.token_hex(8)}", requests_per_hour=5)
    with listening() as news:
        Tier.objects.filter(pk=tier.pk).update(**change)
        assert news() == expected


def test_every_edit_of_a_tiers_limits_is_news_for_all_and_shows_in_the_tier(committed):
    tier = Tier.objects.create(name=f"t{secrets.token_hex(8)}", requests_per_hour=5)
    tier.refresh_from_db()
    before = tier.updated_at
    with listening() as news:
        limit = TierLimit.objects.create(tier=tier, name="minute", requests=5, window_seconds=60)
        assert news() == ["all"]
        limit.save()
        assert news() == []
        execute("UPDATE tier_limit SET requests = 6 WHERE id = %s", limit.pk)
        assert news() == ["all"]
        limit.delete()
        assert news() == ["all"]
    tier.refresh_from_db()
    assert tier.updated_at > before


def test_every_edit_of_a_keys_limits_is_news_of_it_and_of_those_it_replaces_and_shows_in_it(
    committed, issue_key
):
    first = issue_key().key
    second = keys.rotate(first.pk, timedelta(hours=1), Actor("test")).key
    second.refresh_from_db()
    before = second.updated_at
    both = [str(second.pk), str(first.pk)]
    with listening() as news:
        limit = KeyLimit.objects.create(api_key=second, name="minute", requests=5)
        assert news() == both
        limit.save()
        assert news() == []
        execute("UPDATE key_limit SET requests = 6 WHERE id = %s", limit.pk)
        assert news() == both
        execute("UPDATE key_limit SET api_key_id = %s WHERE id = %s", first.pk, limit.pk)
        assert sorted(news()) == sorted(both)
        limit.delete()
        assert news() == [str(first.pk)]
    second.refresh_from_db()
    assert second.updated_at > before


def test_a_rotated_keys_limits_go_along(issue):
    first = issue().key
    KeyLimit.objects.create(api_key=first, name="minute", requests=5, burst=7)
    second = keys.rotate(first.pk, timedelta(hours=1), Actor("test")).key
    assert list(second.limits.values_list("name", "requests", "burst")) == [("minute", 5, 7)]
    assert first.limits.count() == 1


BUCKET = {"requests": 5, "window_seconds": 60}
QUOTA = {"requests": 5, "period": "month"}


@pytest.mark.parametrize(
    ("fields", "check"),
    [
        (BUCKET | {"name": "default"}, "name_check"),
        (BUCKET | {"name": "Ten a second"}, "name_check"),
        (BUCKET | {"requests": 0}, "requests_check"),
        (BUCKET | {"requests": 10**10 + 1, "window_seconds": 7200}, "requests_check"),
        (BUCKET | {"requests": 10**9}, "rate_check"),
        (BUCKET | {"window_seconds": 0}, "window_seconds_check|rate_check"),
        (BUCKET | {"window_seconds": 367 * 86_400}, "window_seconds_check"),
        (BUCKET | {"burst": 0}, "burst_check"),
        ({"requests": 1, "window_seconds": 86_400, "burst": 3651}, "refill_check"),
        (BUCKET | {"period": "day"}, "terms_check"),
        ({"requests": 5}, "terms_check"),
        (QUOTA | {"burst": 5}, "terms_check"),
        (QUOTA | {"period": "week"}, "period_check"),
        (QUOTA | {"endpoint_prefix": ""}, "endpoint_prefix_check"),
    ],
)
def test_a_limit_that_the_arithmetic_does_not_hold_is_refused(db, fields, check):
    tier = Tier.objects.get(name="free")
    with pytest.raises(IntegrityError, match=f"tier_limit_({check})"), transaction.atomic():
        TierLimit.objects.create(**{"tier": tier, "name": "a", **fields})


def test_the_widest_limits_are_held(db):
    tier = Tier.objects.get(name="free")
    for number, fields in enumerate(
        [
            {"requests": 10**10, "period": "month"},
            {"requests": 10**10, "window_seconds": 3600, "burst": 10**9},
            {"requests": 1, "window_seconds": 366 * 86_400, "burst": 9},
            {"requests": 10**10 // 3600, "window_seconds": 1},
        ]
    ):
        TierLimit.objects.create(tier=tier, name=f"l{number}", **fields)
    assert tier.limits.count() == 4


def test_two_limits_of_a_tier_have_two_names(db):
    tier = Tier.objects.get(name="free")
    TierLimit.objects.create(tier=tier, name="a", **BUCKET)
    with pytest.raises(IntegrityError, match="tier_limit_tier_name_key"), transaction.atomic():
        TierLimit.objects.create(tier=tier, name="a", **QUOTA)


def test_what_is_rolled_back_is_no_news(committed, issue_key):
    key = issue_key().key
    with listening() as news:
        with transaction.atomic():
            APIKey.objects.filter(pk=key.pk).update(is_active=False)
            transaction.set_rollback(True)
        assert news() == []


def test_only_a_revoked_key_has_a_reason(issue):
    key = issue().key
    with pytest.raises(IntegrityError, match="revoked_reason_check"), transaction.atomic():
        APIKey.objects.filter(pk=key.pk).update(revoked_reason="leaked")
    APIKey.objects.filter(pk=key.pk).update(revoked_reason="leaked", revoked_at=timezone.now())

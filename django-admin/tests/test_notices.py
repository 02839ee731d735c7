"""What is written of keys, when, how often, and for whom."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from api_manager import keys
from api_manager.audit import Actor
from api_manager.models import APIKey, Delivery, KeyLimit, Notice, Tier, TierLimit, UsageHourly, Webhook
from api_manager.notices import finding, outbox, posting

ACTOR = Actor("test:notices")
KINDS = [kind.value for kind in Notice.Kind if kind != Notice.Kind.PING]
NOW = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)


def webhook(name="all", kinds=KINDS, **fields) -> Webhook:
    return Webhook.objects.create(name=name, url="https://example.com/hooks", kinds=kinds, **fields)


def commit() -> None:
    """What is left to the end of a transaction is done now."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")


def written() -> list[tuple[str, int | None, dict]]:
    return list(Notice.objects.order_by("pk").values_list("kind", "api_key", "data"))


def facts(key: APIKey, tier: str = "free") -> dict:
    return {"id": key.pk, "hint": key.hint, "tier": tier}


def test_acts_are_noted_in_their_transaction_whoever_acts(issue):
    webhook()
    old = issue(owner_email="ada@example.com").key
    new = keys.rotate(old.pk, timedelta(hours=1), ACTOR).key
    commit()
    old.refresh_from_db()
    ends_at = old.expires_at.isoformat().replace("+00:00", "")
    [(kind, key_id, data)] = written()
    assert (kind, key_id) == ("key.rotated", new.pk)
    assert data["key"] == facts(new)
    assert data["replaces"]["id"] == old.pk
    assert data["replaces"]["expires_at"].startswith(ends_at[:19])

    with connection.cursor() as cursor:  # as psql
        cursor.execute("UPDATE api_key SET tier_id = (SELECT id FROM tier WHERE name = 'pro')")
    # The old key follows its successor, whose tier both have; of it alone nothing is told.
    assert written()[1:] == [
        ("key.retiered", new.pk, {"key": facts(new, "pro"), "previous_tier": "free"}),
    ]
    assert keys.revoke(new.pk, ACTOR, "leaked by Ada")
    assert not keys.revoke(new.pk, ACTOR)
    [(kind, key_id, data)] = written()[2:]
    assert (kind, key_id, data["key"]) == ("key.revoked", new.pk, facts(new, "pro"))
    APIKey.objects.update(note="an edit that nobody is told", name="other")
    assert len(written()) == Delivery.objects.count() == 3
    assert "ada" not in str(written()).lower()


def test_a_notice_goes_to_active_webhooks_that_want_it_and_else_is_not_written(issue):
    key, other = issue().key, issue().key
    webhook("asleep", is_active=False)
    webhook("else", kinds=["key.quota"])
    keys.revoke(key.pk, ACTOR)
    assert written() == []
    first, second = webhook("first", ["key.revoked"]), webhook("second")
    keys.revoke(other.pk, ACTOR)
    assert {each.webhook for each in Delivery.objects.all()} == {first, second}
    assert Notice.objects.count() == 1


def test_a_key_that_ends_within_7_days_is_noted_once_for_each_end(issue):
    hook = webhook(kinds=["key.expiring"])
    soon = issue("soon", expires_at=NOW + timedelta(days=7)).key
    issue("later", expires_at=NOW + timedelta(days=7, seconds=1))
    issue("never")
    APIKey.objects.filter(pk=issue("past").key.pk).update(expires_at=NOW - timedelta(seconds=1))
    keys.revoke(issue("revoked", expires_at=NOW + timedelta(days=1)).key.pk, ACTOR)
    replaced = issue("replaced", expires_at=NOW + timedelta(days=2)).key
    heir = keys.rotate(replaced.pk, timedelta(days=1), ACTOR).key
    assert finding.find(NOW) == 2
    assert {key_id for _, key_id, _ in written()} == {soon.pk, heir.pk}
    assert {
        "key": facts(soon),
        "expires_at": soon.expires_at.isoformat(),
    } in [data for *_, data in written()]
    assert finding.find(NOW + timedelta(minutes=1)) == 1  # the one that came near meanwhile
    assert finding.find(NOW + timedelta(minutes=1)) == 0
    APIKey.objects.filter(pk=soon.pk).update(expires_at=NOW + timedelta(days=60))
    assert finding.find(NOW + timedelta(days=54)) == 1
    assert Delivery.objects.filter(webhook=hook).count() == 4


@pytest.fixture
def plan(db) -> Tier:
    tier = Tier.objects.get(name="pro")
    limits = [
        {"name": "monthly", "requests": 1000, "period": "month"},
        {"name": "daily", "requests": 100, "period": "day", "endpoint_prefix": "/v1/exports"},
        {"name": "tried", "requests": 1, "period": "month", "is_shadow": True},
        {"name": "second", "requests": 1, "window_seconds": 1},
    ]
    for limit in limits:
        TierLimit.objects.create(tier=tier, **limit)
    return tier


def use(key: APIKey, cost: int, hour: datetime = NOW, endpoint: str = "/v1/orders") -> None:
    UsageHourly.objects.create(
        api_key=key, hour=hour.replace(minute=0), endpoint=endpoint, allowed=1, cost=cost
    )


def passed() -> list[tuple[str, int, int]]:
    return [(data["limit"], data["percent"], data["used"]) for *_, data in written()]


def test_quotas_are_noted_at_80_and_100_percent_once_a_period(issue, plan):
    key = issue(tier="pro").key
    use(key, 799)
    use(key, 5000, NOW - timedelta(days=22))  # of the month before
    assert finding.find(NOW) == 0  # nobody wants to hear of it
    webhook(kinds=["key.quota"])
    assert finding.find(NOW) == 0
    use(key, 1, endpoint="/v1/exports/1")
    assert finding.find(NOW) == 1
    assert passed() == [("monthly", 80, 800)]
    assert finding.find(NOW) == 0

    # What a key has spent goes on with its successor, whatever numbers that has of its own.
    heir = keys.rotate(key.pk, timedelta(hours=1), ACTOR).key
    KeyLimit.objects.create(api_key=heir, name="daily", requests=10)
    use(heir, 199)
    use(key, 8, NOW + timedelta(hours=1), endpoint="/v1/exports/2")
    assert finding.find(NOW) == 2
    assert passed()[1:] == [("monthly", 100, 1007), ("daily", 80, 9)]
    assert written()[-1][2] == {
        "key": facts(heir, "pro"),
        "limit": "daily",
        "period": "day",
        "began_at": "2026-11-22T00:00:00+00:00",
        "requests": 10,
        "used": 9,
        "percent": 80,
    }

    # A new day begins anew, and both marks may be passed at once.
    use(heir, 10, NOW + timedelta(days=1), endpoint="/v1/exports")
    assert finding.find(NOW + timedelta(days=1)) == 2
    assert passed()[3:] == [("daily", 80, 10), ("daily", 100, 10)]
    assert finding.find(NOW + timedelta(days=1)) == 0
    keys.revoke(heir.pk, ACTOR)
    use(heir, 999, NOW + timedelta(days=2), endpoint="/v1/exports")
    assert finding.find(NOW + timedelta(days=2)) == 0


def fill(hook: Webhook, count: int, since: datetime = NOW) -> None:
    for number in range(count):
        notice = Notice.objects.create(kind="ping", dedupe_key=f"{hook.pk}-{number}")
        Delivery.objects.create(
            notice=notice, webhook=hook, next_attempt_at=since + timedelta(seconds=number)
        )


def test_what_is_due_is_shared_between_webhooks(db):
    fill(webhook("busy"), 40, NOW - timedelta(days=1))
    fill(webhook("asleep", is_active=False), 1)
    fill(webhook("quiet"), 2, NOW - timedelta(seconds=1))
    due = outbox.due(NOW)
    assert [each.webhook.name for each in due] == [*["busy", "quiet"] * 2, *["busy"] * 6]
    assert [each.webhook.name for each in outbox.due(NOW - timedelta(seconds=1))].count("quiet") == 1
    for number in range(40):
        fill(webhook(f"more-{number}"), 1)
    assert len(outbox.due(NOW)) == outbox.MOST_AT_ONCE


def test_attempts_come_later_and_later_until_they_are_given_up_and_an_operator_may_begin_anew(db):
    fill(webhook(), 1)
    failed = posting.Outcome(503, 12, "The answer was 503.", "away")
    moment, pauses = NOW, []
    for attempt in range(1, outbox.MAX_ATTEMPTS + 1):
        [delivery] = outbox.due(moment)
        assert outbox.due(moment - timedelta(milliseconds=1)) == []
        outbox.record({delivery: failed}, moment)
        delivery.refresh_from_db()
        assert (delivery.attempts, delivery.status_code, delivery.answer) == (attempt, 503, "away")
        if attempt < outbox.MAX_ATTEMPTS:
            pauses.append(delivery.next_attempt_at - moment)
            moment = delivery.next_attempt_at
    assert all(0.8 <= pause / (outbox.FIRST_PAUSE * 2**number) <= 1 for number, pause in enumerate(pauses))
    assert timedelta(hours=18) < sum(pauses, timedelta()) < timedelta(hours=23)
    assert (delivery.status, delivery.error) == ("dead", "The answer was 503.")
    assert outbox.due(NOW + timedelta(days=9)) == []
    assert outbox.retry(delivery.pk)
    assert not outbox.retry(delivery.pk)
    [again] = outbox.due(timezone.now())
    assert (again.pk, again.attempts, again.notice.uid) == (delivery.pk, 0, delivery.notice.uid)
    outbox.record({again: posting.Outcome(204, 3, "")}, NOW)
    again.refresh_from_db()
    assert (again.status, again.error) == ("delivered", "")


def test_the_log_is_kept_30_days_and_what_names_an_event_longer(db):
    fill(webhook(), 2)
    ages = {0: timedelta(days=29), 1: timedelta(days=31)}
    for delivery, age in zip(Delivery.objects.order_by("pk"), ages.values(), strict=True):
        Delivery.objects.filter(pk=delivery.pk).update(created_at=NOW - age)
        Notice.objects.filter(pk=delivery.notice_id).update(created_at=NOW - age)
    outbox.prune(NOW)
    assert (Delivery.objects.count(), Notice.objects.count()) == (1, 2)
    outbox.prune(NOW + timedelta(days=10))
    assert (Delivery.objects.count(), Notice.objects.count()) == (0, 1)

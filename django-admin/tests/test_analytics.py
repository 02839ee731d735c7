from datetime import UTC, date, datetime, timedelta

import pytest
from django.utils import timezone

from api_manager import analytics
from api_manager.analytics import DAY, HOUR, MONTH, RANGES, WEEK, Sums
from api_manager.models import (
    APIKey,
    EndpointHourly,
    KeyActivity,
    UsageDaily,
    UsageHourly,
    UsageMinutely,
)

NOW = datetime(2026, 11, 22, 12, 34, 56, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _database(db):
    """Everything here happens in the database, and is rolled back."""


def at(day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


def minute(time: datetime, key: int, allowed: int = 1, limited: int = 0, cost: int = 1) -> None:
    UsageMinutely.objects.create(minute=time, api_key_id=key, allowed=allowed, limited=limited, cost=cost)


def hour(time: datetime, key: int, allowed: int = 1, limited: int = 0, endpoint: str = "/x") -> None:
    UsageHourly.objects.create(
        hour=time, api_key_id=key, endpoint=endpoint, allowed=allowed, limited=limited, cost=allowed
    )


def day(when: date, key: int, allowed: int = 1, limited: int = 0) -> None:
    UsageDaily.objects.create(day=when, api_key_id=key, allowed=allowed, limited=limited, cost=allowed)


def endpoint(time: datetime, name: str = "/x", allowed: int = 1, limited: int = 0) -> None:
    EndpointHourly.objects.create(hour=time, endpoint=name, allowed=allowed, limited=limited, cost=allowed)


def shown(buckets: list[analytics.Bucket]) -> dict[datetime, Sums]:
    return {bucket.start: bucket.sums for bucket in buckets if bucket.sums != Sums()}


@pytest.mark.parametrize(
    ("name", "first", "last", "count"),
    [
        ("1h", at(22, 11, 35), at(22, 12, 34), 60),
        ("24h", at(21, 13), at(22, 12), 24),
        ("7d", at(16), at(22, 12), 6 * 24 + 13),
        ("30d", datetime(2026, 10, 24, tzinfo=UTC), at(22), 30),
    ],
)
def test_a_range_has_every_bucket_up_to_now_though_nothing_happened(name, first, last, count):
    buckets = analytics.traffic(RANGES[name], NOW)
    assert [buckets[0].start, buckets[-1].start, len(buckets)] == [first, last, count]
    assert shown(buckets) == {}
    assert analytics.key_traffic(1, RANGES[name], NOW)[0].start == first


def test_the_traffic_of_the_last_hour_is_that_of_its_minutes(django_assert_num_queries):
    minute(at(22, 11, 34), 1)  # too early
    minute(at(22, 11, 35), 1, 2, 1, 5)
    minute(at(22, 12, 34), 1)
    minute(at(22, 12, 34), 2, 3, 4, 6)
    with django_assert_num_queries(1):
        buckets = analytics.traffic(HOUR, NOW)
    assert shown(buckets) == {at(22, 11, 35): Sums(2, 1, 5), at(22, 12, 34): Sums(4, 4, 7)}


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (DAY, {at(22, 2): Sums(2, 1, 2), at(22, 12): Sums(3, 0, 3)}),
        (WEEK, {at(20, 5): Sums(4, 0, 4), at(22, 2): Sums(2, 1, 2), at(22, 12): Sums(3, 0, 3)}),
        (MONTH, {at(1): Sums(5, 0, 5), at(20): Sums(4, 0, 4), at(22): Sums(5, 1, 5)}),
    ],
)
def test_longer_traffic_is_that_of_the_endpoints(django_assert_num_queries, span, expected):
    endpoint(at(22, 2), "/a", 1, 1)
    endpoint(at(22, 2), "/b", 1)
    endpoint(at(22, 12), "/a", 3)
    endpoint(at(20, 5), "/a", 4)
    endpoint(at(1, 23), "/a", 5)
    endpoint(datetime(2026, 10, 23, 23, tzinfo=UTC), "/a", 100)
    with django_assert_num_queries(1):
        buckets = analytics.traffic(span, NOW)
    assert shown(buckets) == expected


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (HOUR, Sums(2, 3, 2)),  # of the minute in which it ends, 56 seconds
        (DAY, Sums(107, 0, 107)),  # of the hour, 35 minutes
        (WEEK, Sums(1058, 0, 1058)),
        (MONTH, Sums(10058, 0, 10058)),
    ],
)
def test_the_range_before_ends_where_this_one_has_come_to(span, expected):
    minute(at(22, 10, 34), 1, 50)
    minute(at(22, 10, 35), 1, 1, 3)
    minute(at(22, 11, 34), 2, 1)
    minute(at(22, 11, 35), 1, 50)
    september, october = datetime(2026, 9, 24, tzinfo=UTC), datetime(2026, 10, 23, 12, tzinfo=UTC)
    for first, last, allowed in (
        (at(20, 13), at(21, 12), 49),
        (at(9), at(15, 12), 1000),
        (september, october, 10_000),
    ):
        endpoint(first, allowed=allowed)
        endpoint(last, allowed=100)
    endpoint(september - timedelta(hours=1), allowed=50)
    assert analytics.total_before(span, NOW) == expected


def test_there_is_no_range_before_where_counting_began_later():
    assert analytics.total_before(DAY, NOW) is analytics.first_hour() is None
    endpoint(at(20, 13))
    assert analytics.total_before(DAY, NOW) is None
    endpoint(at(20, 12))
    assert analytics.first_hour() == at(20, 12)
    assert analytics.total_before(DAY, NOW) == Sums(1, 0, 1)
    assert analytics.total_before(WEEK, NOW) is None


@pytest.mark.parametrize("span", [HOUR, DAY, WEEK, MONTH])
def test_a_key_in_use_counts_once(django_assert_num_queries, span):
    for put, when in ((minute, at(22, 12, 1)), (hour, at(22, 12)), (day, NOW.date())):
        put(when, 1)
        put(when, 2)
    minute(at(22, 12, 2), 1)
    hour(at(22, 12), 1, endpoint="/b")
    day(date(2026, 11, 21), 1)
    minute(at(22, 11, 34), 3)
    hour(at(21, 12), 3)
    day(date(2026, 10, 23), 3)
    with django_assert_num_queries(1):
        assert analytics.used_keys(span, NOW) == 2
    assert analytics.key_usage(span, NOW).used == 2


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (HOUR, {at(22, 12, 0): Sums(1, 0, 1), at(22, 12, 9): Sums(2, 5, 2)}),
        (DAY, {at(21, 13): Sums(1, 0, 1), at(22, 12): Sums(3, 5, 3)}),
        (WEEK, {at(16): Sums(2, 1, 2)}),
        (MONTH, {at(16): Sums(7, 8, 7), at(22): Sums(9, 0, 9)}),
    ],
)
def test_of_a_key_only_its_own_is_shown(django_assert_num_queries, span, expected):
    minute(at(21, 13, 9), 1)
    minute(at(22, 12, 0), 1)
    minute(at(22, 12, 9), 1, 2, 5, 2)
    minute(at(22, 12, 9), 2)
    hour(at(16), 1, endpoint="/a")
    hour(at(16), 1, limited=1, endpoint="/b")
    hour(at(16), 2)
    day(date(2026, 11, 16), 1, 7, 8)
    day(date(2026, 11, 22), 1, 9)
    day(date(2026, 11, 22), 2)
    with django_assert_num_queries(1):
        buckets = analytics.key_traffic(1, span, NOW)
    assert shown(buckets) == expected


@pytest.mark.parametrize("span", [HOUR, DAY, WEEK, MONTH])
def test_the_top_keys_are_in_order_with_their_tiers(django_assert_num_queries, issue, span):
    busy, denied, idle = (issue(name).key for name in ("busy", "denied", "idle"))
    gone = 10**9
    for put, when in ((minute, at(22, 12, 1)), (hour, at(22, 12)), (day, NOW.date())):
        put(when, busy.pk, 50)
        put(when, denied.pk, 3, 30)
        put(when, idle.pk, 1)
        put(when, gone, 40)
    with django_assert_num_queries(3):
        top = analytics.key_usage(span, NOW, limit=3).top
        assert [(total.key.name, total.sums.requests) for total in top] == [("busy", 50), ("denied", 33)]
        assert {total.key.tier.name for total in top} == {"free"}
    limited = analytics.key_usage(span, NOW).limited
    assert [(total.key.name, total.sums.limited) for total in limited] == [("denied", 30)]


def test_what_was_before_the_range_does_not_count(issue):
    key = issue().key
    minute(at(22, 11, 34), key.pk)
    hour(at(21, 12), key.pk)
    day(date(2026, 11, 15), key.pk)
    assert [analytics.key_usage(span, NOW).top for span in (HOUR, DAY, WEEK)] == [[], [], []]
    assert [total.key for total in analytics.key_usage(MONTH, NOW).top] == [key]


def test_the_top_endpoints_are_in_order_and_an_hour_of_them_begins_at_a_full_one(django_assert_num_queries):
    endpoint(at(22, 12), "/a", 5)
    endpoint(at(22, 11), "/b", 1, 5)
    endpoint(at(22, 10), "/a", 7)
    endpoint(at(22, 12), "/c", 2)
    with django_assert_num_queries(1):
        top = analytics.top_endpoints(HOUR, NOW, limit=2)
    assert [(total.endpoint, total.sums.requests) for total in top] == [("/b", 6), ("/a", 5)]
    assert [total.endpoint for total in analytics.top_endpoints(DAY, NOW)] == ["/a", "/b", "/c"]


@pytest.mark.parametrize("span", [HOUR, DAY, WEEK, MONTH])
def test_tiers_have_their_keys_and_requests(django_assert_num_queries, issue, span):
    free, other, pro = issue().key, issue("other").key, issue("big", "pro").key
    APIKey.objects.filter(pk=other.pk).update(revoked_at=timezone.now())
    issue("paused", is_active=False)
    issue("over", expires_at=NOW - timedelta(seconds=1))
    for put, when in ((minute, at(22, 12, 1)), (hour, at(22, 12)), (day, NOW.date())):
        put(when, free.pk, 3)
        put(when, other.pk, 2, 1)
        put(when, pro.pk, 9)
    with django_assert_num_queries(3):
        totals = analytics.key_usage(span, NOW).tiers
    assert [(total.tier.name, total.keys, total.sums.requests) for total in totals] == [
        ("free", 1, 6),
        ("basic", 0, 0),
        ("pro", 1, 9),
        ("enterprise", 0, 0),
    ]


def test_keys_that_expire_soon_are_those_that_can_be_used_till_then(issue):
    later, soon = NOW + timedelta(days=6), NOW + timedelta(days=1)
    issue("later", expires_at=later)
    issue("soon", expires_at=soon)
    issue("paused", expires_at=soon, is_active=False)
    issue("over", expires_at=NOW)
    issue("far", expires_at=NOW + timedelta(days=8))
    issue("never")
    revoked, rotated = issue("revoked", expires_at=soon).key, issue("rotated", expires_at=soon).key
    APIKey.objects.filter(pk=revoked.pk).update(revoked_at=NOW)
    issue("successor", replaces=rotated)
    assert [key.name for key in analytics.expiring_keys(NOW)] == ["soon", "later"]
    assert [key.name for key in analytics.expiring_keys(NOW, timedelta(days=2))] == ["soon"]


def test_unused_keys_are_old_usable_and_idle(issue, django_assert_num_queries):
    for name, age, last_used in (
        ("idle", 90, 31),
        ("used", 90, 29),
        ("never", 90, None),
        ("new", 29, None),
        ("longest", 90, 80),
    ):
        key = issue(name).key
        APIKey.objects.filter(pk=key.pk).update(created_at=NOW - timedelta(days=age))
        if last_used is not None:
            KeyActivity.objects.create(api_key=key, last_used_at=NOW - timedelta(days=last_used))
    issue("paused", is_active=False, created_at=NOW - timedelta(days=90))
    with django_assert_num_queries(1):
        keys = [(key.name, key.tier.name, hasattr(key, "activity")) for key in analytics.unused_keys(NOW)]
    assert keys == [("never", "free", False), ("longest", "free", True), ("idle", "free", True)]
    assert [key.name for key in analytics.unused_keys(NOW, days=85)] == ["never"]

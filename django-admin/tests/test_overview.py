"""The landing page, by its public door."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from api_manager import keys
from api_manager.analytics import DAY, RANGES
from api_manager.audit import Actor
from api_manager.models import (
    APIKey,
    EndpointHourly,
    KeyActivity,
    UsageDaily,
    UsageHourly,
    UsageMinutely,
)
from api_manager.overview import Figure

QUERIES = 20
"""Session, operator and second factor included, however many keys and requests there are."""

OF_USAGE = {"figures", "chart", "endpoints"}
OF_KEYS = {"statuses", "attention"}
OF_BOTH = {"top_keys", "limited_keys", "tiers"}
PARTS = OF_USAGE | OF_KEYS | OF_BOTH | {"pipeline"}


def viewer(*models: str) -> Client:
    """Somebody who may look at these lists, and no more."""
    user = User.objects.create_user("victor", is_staff=True)
    codenames = [f"view_{model}" for model in models]
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return logged_in(user)


def logged_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def site(db) -> Client:
    """An operator who may see all, and has no password: to hash one takes as long as a test."""
    return logged_in(User.objects.create_superuser("alice"))


def use(key: APIKey, allowed: int, limited: int, ago: timedelta = timedelta()) -> None:
    """What the drain keeps of so many requests."""
    time = timezone.now() - ago
    hour = time.replace(minute=0, second=0, microsecond=0)
    sums = {"allowed": allowed, "limited": limited, "cost": 2 * allowed}
    UsageMinutely.objects.create(minute=time.replace(second=0, microsecond=0), api_key=key, **sums)
    UsageHourly.objects.create(hour=hour, api_key=key, endpoint="/v1/orders", **sums)
    UsageDaily.objects.create(day=hour.date(), api_key=key, **sums)
    row, _ = EndpointHourly.objects.get_or_create(hour=hour, endpoint="/v1/orders")
    for name, number in sums.items():
        setattr(row, name, getattr(row, name) + number)
    row.save()


@pytest.fixture
def busy(issue) -> APIKey:
    """A key with requests, beside one that has fewer and is never limited."""
    key = issue("busy", "pro", owner_email="ops@example.com").key
    use(key, 60, 20)
    use(issue("calm").key, 20, 0)
    return key


def figures(page) -> dict[str, tuple[str, str]]:
    return {figure.title: (figure.text, figure.change) for figure in page.context["figures"]}


@pytest.mark.parametrize("name", RANGES)
def test_each_range_tells_who_uses_us_and_who_is_limited(site: Client, busy, name):
    page = site.get(f"/admin/?range={name}")
    assert re.findall(r'href="\?range=(\w+)" aria-current="true"', page.text) == [name]
    assert figures(page) == {
        "Requests": ("100", ""),
        "Limited": ("20", ""),
        "Keys in use": ("2", ""),
        "Tokens spent": ("160", ""),
    }
    assert "20.0% of requests" in page.text
    context = page.context
    assert [total.key.name for total in context["top_keys"]] == ["busy", "calm"]
    assert [(total.key.name, total.sums.limited) for total in context["limited_keys"]] == [("busy", 20)]
    assert f'href="/admin/api_manager/apikey/{busy.pk}/change/"' in page.text
    assert "pro · ops@example.com" in page.text
    assert [(row.total.tier.name, row.total.keys, row.percent) for row in context["tiers"]] == [
        ("free", 1, 20.0),
        ("basic", 0, 0.0),
        ("pro", 1, 80.0),
        ("enterprise", 0, 0.0),
    ]
    chart = context["chart"]
    assert {name: sum(numbers) for name, numbers in chart.series.items()} == {"Allowed": 80, "Limited": 20}
    assert [total.endpoint for total in context["endpoints"]] == ["/v1/orders"]


def test_a_range_that_is_unknown_is_a_day(site: Client, busy):
    for query in ("", "?range=", "?range=9y", "?range=%00", "?range=1h&range=24h"):
        assert site.get(f"/admin/{query}").context["span"] is DAY


def test_a_range_is_compared_with_the_one_before(site: Client, busy):
    use(busy, 500, 0, timedelta(days=3))  # so that the day before is known as a whole
    use(busy, 40, 10, timedelta(days=1, hours=2))
    page = site.get("/admin/")
    assert figures(page) == {
        "Requests": ("100", "100% more than"),
        "Limited": ("20", "100% more than"),
        "Keys in use": ("2", "100% more than"),
        "Tokens spent": ("160", "100% more than"),
    }
    assert "100% more than in the 24 hours before." in page.text
    assert "There were none in the hour before." in site.get("/admin/?range=1h").text


@pytest.mark.parametrize(
    ("number", "before", "text", "change"),
    [
        (0, None, "0", ""),
        (999_999, 0, "999,999", "there were none"),
        (1_000_000, 1_000_000, "1.00 M", "as many as"),
        (12_345_678_900, 10_000_000_000, "12.35 B", "23% more than"),
        (5 * 10**12, 2 * 10**11, "5.00 T", "25 times as many as"),
        (0, 7, "0", "100% fewer than"),
    ],
)
def test_a_figure_is_short_and_so_is_its_change(number, before, text, change):
    figure = Figure("Requests", number, before)
    assert (figure.text, figure.change) == (text, change)


def test_times_are_said_as_their_range_needs_them(site: Client, busy):
    labels = {name: site.get(f"/admin/?range={name}").context["chart"].labels for name in RANGES}
    assert all(re.fullmatch(r"\d\d:\d\d", label) for label in (*labels["1h"], *labels["24h"]))
    assert [bool(re.fullmatch(r"[A-Z][a-z]{2}", label)) for label in labels["7d"][:25]] == [
        True,
        *[False] * 23,
        True,
    ]
    assert re.fullmatch(r"[A-Z][a-z]{2}, 01:00", labels["7d"][1])
    assert all(re.fullmatch(r"\d\d [A-Z][a-z]{2}", label) for label in labels["30d"])


def test_keys_that_want_attention_are_listed_and_found_in_their_list(site: Client, busy, issue):
    now = timezone.now()
    issue("ending", expires_at=now + timedelta(days=2))
    for number in range(7):
        key = issue(f"idle-{number}").key
        APIKey.objects.filter(pk=key.pk).update(created_at=now - timedelta(days=90))
    KeyActivity.objects.create(api_key=key, last_used_at=now - timedelta(days=45))
    page = site.get("/admin/")
    assert [(part.name, len(part.keys), part.count) for part in page.context["attention"]] == [
        ("expiring", 1, 1),
        ("unused", 5, 7),
    ]
    assert "See all 7" in page.text
    listed = {}
    for part in page.context["attention"]:
        assert f'href="{part.url}"' in page.text
        listed[part.name] = sorted(key.name for key in site.get(part.url).context["cl"].result_list)
    assert listed == {"expiring": ["ending"], "unused": [f"idle-{number}" for number in range(7)]}
    assert len(site.get("/admin/api_manager/apikey/?attention=else").context["cl"].result_list) == 10


def test_keys_are_counted_by_status(site: Client, busy, issue):
    keys.revoke(issue("gone").key.pk, Actor("test:x"))
    page = site.get("/admin/")
    assert [(str(status), count) for status, count in page.context["statuses"]] == [
        ("active", 2),
        ("paused", 0),
        ("expired", 0),
        ("revoked", 1),
    ]
    assert 'href="/admin/api_manager/apikey/?status=revoked"' in page.text


def test_an_empty_platform_says_what_to_do_first(site: Client, issue):
    page = site.get("/admin/")
    assert page.context["is_new"]
    assert "/api/request" in page.text
    assert "seed_demo</code>" in page.text
    assert "<canvas" not in page.text
    issue()
    assert "seed_demo --force</code>" in site.get("/admin/").text


@pytest.mark.parametrize(
    ("models", "shown"),
    [
        ((), set()),
        (("tier", "auditevent"), set()),
        (("apikey",), OF_KEYS),
        (("requestlog",), {"pipeline"}),
        (("usagehourly",), OF_USAGE),
        (("apikey", "usagehourly"), OF_KEYS | OF_USAGE | OF_BOTH),
    ],
)
def test_it_tells_nobody_more_than_the_lists_do(busy, models, shown):
    page = viewer(*models).get("/admin/")
    parts = {
        "statuses",
        "attention",
        "figures",
        "chart",
        "endpoints",
        "top_keys",
        "limited_keys",
        "tiers",
        "pipeline",
    }
    assert {part for part in parts if part in page.context} == shown
    assert ("ops@example.com" in page.text) == ("top_keys" in shown)
    assert ("/v1/orders" in page.text) == ("endpoints" in shown)
    assert ("Runbook" in page.text) == ("pipeline" in shown)
    assert "Issue a key" not in page.text


@pytest.mark.parametrize("name", RANGES)
def test_its_queries_are_few_and_none_reads_the_log(site: Client, busy, issue, name):
    now = timezone.now()
    for number in range(12):
        use(issue(f"key-{number}", expires_at=now + timedelta(days=1)).key, 5, 5)
        idle = issue(f"idle-{number}").key
        APIKey.objects.filter(pk=idle.pk).update(created_at=now - timedelta(days=90))
    use(busy, 1, 1, timedelta(days=70))
    with CaptureQueriesContext(connection) as queries:
        assert site.get(f"/admin/?range={name}").status_code == 200
    statements = [query["sql"] for query in queries]
    assert len(statements) <= QUERIES
    assert not [statement for statement in statements if "request_log" in statement]

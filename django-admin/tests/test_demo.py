import re
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from io import StringIO
from itertools import count as numbers_from
from random import Random

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import Max, Min

from api_manager import analytics
from api_manager.demo import site, traffic
from api_manager.models import (
    APIKey,
    AuditEvent,
    KeyActivity,
    RequestLog,
    Tier,
    UsageDaily,
    UsageHourly,
    UsageMinutely,
)
from tests.partitions import logged_days

UNTIL = datetime(2026, 11, 22, 15, 20, 30, tzinfo=UTC)
TIERS = [Tier(name=name, requests_per_hour=rate) for name, rate in (("free", 100), ("basic", 1000))]
KEYS = 60
ROWS = 4_000


def seed(*arguments: str) -> str:
    call_command("seed_demo", *arguments, stderr=(err := StringIO()))
    return err.getvalue()


def size(table: str) -> float:
    """What a table takes on the disk, in megabytes."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_total_relation_size(%s::regclass)", [table])
        return cursor.fetchone()[0] / 1e6


def made(number: int = 1, rows: int = ROWS) -> tuple[list[site.Client], list[list[str]]]:
    """A site that is in no database: its clients, and the fields of its lines."""
    random = Random(number)  # noqa: S311  # repeatable, not secret
    clients = site.make(random, KEYS, TIERS, UNTIL)
    for client, pk in zip(clients, numbers_from(1), strict=False):
        client.key.pk = pk
    lines = []
    for day, chunks in traffic.by_day(clients, random, rows, UNTIL):
        for number_of_lines, text in chunks:
            assert text.count("\n") == number_of_lines
            lines += [line.split("\t") for line in text.splitlines()]
            assert lines[-1][7].startswith(str(day))
    return clients, lines


def test_the_lines_are_as_many_as_asked_for_in_the_order_of_time_and_all_in_the_past():
    _, lines = made()
    times = [line[7] for line in lines]
    assert len(times) == ROWS
    assert times == sorted(times)
    assert times[0].startswith("2026-10-24")
    assert times[-1] <= f"{UNTIL:%Y-%m-%d %H:%M:%S}"
    assert made(rows=0)[1] == []


def test_a_younger_site_is_as_busy_at_its_newest_end():
    random = Random(1)  # noqa: S311  # repeatable, not secret
    clients = site.make(random, KEYS, TIERS, UNTIL)
    for client, pk in zip(clients, numbers_from(1), strict=False):
        client.key.pk = pk

    def by_hour(newest: int | None) -> Counter:
        days = traffic.by_day(clients, Random(2), ROWS, UNTIL, newest)  # noqa: S311  # repeatable
        return Counter(
            line.split("\t")[7][:13] for _, chunks in days for _, text in chunks for line in text.splitlines()
        )

    whole, young = by_hour(None), by_hour(300)
    assert young.total() == 300
    oldest, *later = sorted(young)
    assert {hour: young[hour] for hour in later} == {hour: whole[hour] for hour in whole if hour > oldest}


def test_people_work_by_day_and_rest_at_weekends():
    _, lines = made(rows=20_000)
    by_hour = Counter(line[7][11:13] for line in lines)
    assert by_hour["14"] > 3 * by_hour["02"]
    by_day = Counter(line[7][:10] for line in lines)
    assert by_day["2026-11-20"] > 1.5 * by_day["2026-11-21"]  # a Friday, a Saturday


def test_the_same_seed_makes_the_same_site_and_another_another():
    def told(number: int) -> list:
        clients, lines = made(number)
        return [(client.key.name, client.key.owner_email, client.key.hint) for client in clients] + lines

    assert told(7) == told(7)
    assert told(7) != told(8)


def test_there_is_every_kind_of_key_and_no_two_have_a_digest_in_common():
    clients, lines = made()
    keys = [client.key for client in clients]
    assert len(keys) == len({key.digest for key in keys}) == KEYS
    replaced = [key.replaces for key in keys if key.replaces]
    assert replaced
    assert [keys.index(key.replaces) < keys.index(key) for key in keys if key.replaces] == [True] * len(
        replaced
    )
    for key in keys:
        used = [line for line in lines if line[0] == str(key.pk)]
        if key.revoked_at:
            late = {line[2] for line in used if line[7][:10] >= f"{key.revoked_at:%Y-%m-%d}"}
            assert late <= {"403"}
    assert {line[2] for line in lines} == {"200", "403", "429"}


def test_use_is_long_tailed_and_one_key_has_leaked():
    _, lines = made()
    by_key = Counter(line[0] for line in lines)
    assert sum(rows for _, rows in by_key.most_common(6)) > ROWS / 2
    addresses = defaultdict(set)
    for line in lines:
        addresses[line[0]].add(line[6])
    next_most, most = sorted(map(len, addresses.values()))[-2:]
    assert next_most <= 4
    assert most > 20


def test_a_loaded_site_is_whole(db):
    said = seed("--keys", str(KEYS), "--requests", str(ROWS))
    now = datetime.now(UTC)
    assert f"{KEYS} keys and 4,000 rows of the log in " in said
    [megabytes] = re.findall(r"; (\d+) MB on disk", said)
    assert int(megabytes) > sum(
        map(size, ("usage_hourly", *map("request_log_{:%Y%m%d}".format, logged_days())))
    )
    assert APIKey.objects.count() == KEYS
    assert RequestLog.objects.count() == ROWS
    assert len(logged_days()) == site.DAYS

    statuses = Counter(key.status for key in APIKey.objects.all())
    assert set(statuses) == set(APIKey.Status)
    assert analytics.expiring_keys(now)
    unused = analytics.unused_keys(now, days=20)
    assert {hasattr(key, "activity") for key in unused} == {True, False}
    successors = APIKey.objects.exclude(replaces=None).select_related("replaces")
    assert all(key.name == key.replaces.name for key in successors)
    actions = Counter(AuditEvent.objects.values_list("action", flat=True))
    assert actions == {"created": KEYS, "rotated": len(successors), "revoked": statuses["revoked"]}

    allowed = RequestLog.objects.filter(status_code=200).count()
    assert sum(bucket.sums.allowed for bucket in analytics.traffic(analytics.MONTH, now)) == allowed
    assert sum(row.allowed for row in UsageHourly.objects.all()) == allowed
    assert sum(row.allowed for row in UsageDaily.objects.all()) == allowed
    assert UsageMinutely.objects.aggregate(first=Min("minute"))["first"] >= now - timedelta(days=2, minutes=1)
    newest = RequestLog.objects.aggregate(last=Max("timestamp"))["last"]
    assert KeyActivity.objects.aggregate(last=Max("last_used_at"))["last"] == newest


def test_a_site_goes_beside_what_is_there_only_if_told(issue):
    key = issue().key
    now = datetime.now(UTC)
    for age in (0, 5):
        RequestLog.objects.create(
            api_key=key, endpoint="/mine", status_code=200, cost=1, timestamp=now - timedelta(days=age)
        )
    with pytest.raises(CommandError, match=r"has keys already.*--force"):
        seed("--keys", str(KEYS), "--requests", "100")
    assert APIKey.objects.count() == 1
    seed("--keys", str(KEYS), "--requests", "100", "--force")
    assert APIKey.objects.count() == KEYS + 1
    assert RequestLog.objects.count() == 102


def test_without_a_tier_nothing_is_made(db):
    Tier.objects.all().delete()
    with pytest.raises(CommandError, match="no tier"):
        seed()
    assert not AuditEvent.objects.exists()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--keys", "19", "argument --keys: expected a number from 20 to 200000"),
        ("--keys", "many", "argument --keys: expected a number from 20"),
        ("--requests", "-1", "argument --requests: expected"),
        ("--seed", "x", "argument --seed: invalid int"),
    ],
)
def test_a_senseless_option_is_named(option, value, message):
    with pytest.raises(CommandError, match=message):
        seed(f"{option}={value}")

"""Statements: exact to the request, and the same tomorrow, whatever is changed or dropped meanwhile."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import groupby
from random import Random

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from api_manager import erasure, keys, statement
from api_manager.audit import Actor
from api_manager.demo import load
from api_manager.migrations._sql import read_sql
from api_manager.models import (
    APIKey,
    AuditEvent,
    DrainCursor,
    KeyTerms,
    RequestLog,
    Tier,
    TierPrice,
    UsageHourly,
)
from api_manager.statement import Month

PAGE = "/admin/api_manager/statement/"
OCTOBER = Month(2026, 10)
START, HOURS, HOUR = OCTOBER.start, 744, timedelta(hours=1)
BEFORE = START - timedelta(days=100)
OWNER = "ada@example.com"
ACTOR = Actor("test:statement")


def price(tier: str, per_month: str = "0", per_thousand: str = "0", included: int | None = None) -> None:
    """What a tier costs from long ago on."""
    Tier.objects.filter(name=tier).update(
        price_per_month=per_month, price_per_thousand=per_thousand, included_requests=included
    )
    newest = TierPrice.objects.filter(tier_name=tier).latest("pk")
    TierPrice.objects.filter(tier_name=tier).exclude(pk=newest.pk).delete()
    TierPrice.objects.update(valid_from=BEFORE)


def use(key: APIKey, hour: datetime, allowed: int, endpoint: str = "/a") -> None:
    UsageHourly.objects.create(
        api_key=key, hour=hour, endpoint=endpoint, allowed=allowed, limited=7, cost=allowed * 3
    )


def happened(model, moment: datetime) -> None:
    """The newest note of a kind was written then."""
    newest = model.objects.latest("pk")
    model.objects.filter(pk=newest.pk).update(valid_from=moment)


def drawn(owner: str | None = None, month: Month = OCTOBER) -> list[tuple]:
    """The lines of a month: owner, key, tier, hours, requests, requests beyond the included, amount."""
    return [
        (line.owner, line.key, line.tier, line.hours, line.requests, line.extra, str(line.amount))
        for each in statement.draw(month, owner)
        for line in each.lines
    ]


def run(*arguments: str) -> tuple[str, str]:
    call_command("statement", *arguments, stdout=(out := io.StringIO()), stderr=(err := io.StringIO()))
    return out.getvalue(), err.getvalue()


def test_allowed_requests_of_the_month_beyond_the_included_are_counted_one_by_one(issue):
    price("free", "10", "0.5", 1000)
    key = issue(owner_email="Ada@Example.com", created_at=BEFORE).key
    use(key, START - HOUR, 5000)
    use(key, START, 400)
    use(key, START, 599, "/b")
    use(key, START + (HOURS - 1) * HOUR, 3)
    use(key, OCTOBER.end, 5000)
    assert drawn() == [(OWNER, key.pk, "free", HOURS, 1002, 2, "10.00")]
    UsageHourly.objects.filter(endpoint="/b").update(allowed=100_599)
    assert drawn("ADA@example.com") == [(OWNER, key.pk, "free", HOURS, 101_002, 100_002, "60.00")]
    assert drawn("") == drawn("bob@example.com") == []


def test_a_price_holds_from_the_next_hour_and_an_edit_of_today_changes_no_past_month(issue):
    price("free", "74.4", "1", 100)
    key = issue(created_at=BEFORE).key
    use(key, START + 12 * HOUR, 150)
    use(key, START + 13 * HOUR, 1000)
    Tier.objects.filter(name="free").update(price_per_month="744", price_per_thousand="2")
    happened(TierPrice, START + timedelta(hours=12, minutes=30))
    expected = [
        ("", key.pk, "free", 13, 150, 50, "1.35"),  # 13 x 0.1, and 50 x 0.001
        ("", key.pk, "free", 731, 1000, 1000, "733.00"),
    ]
    assert drawn() == expected
    Tier.objects.filter(name="free").update(price_per_month="9", included_requests=0, name="basics")
    keys.update(
        key_with(key, tier=Tier.objects.get(name="pro"), owner_email=OWNER), ["tier", "owner_email"], ACTOR
    )
    Tier.objects.filter(name="basics").delete()
    assert drawn() == expected


def key_with(key: APIKey, **fields) -> APIKey:
    key = APIKey.objects.get(pk=key.pk)
    for name, value in fields.items():
        setattr(key, name, value)
    return key


def test_a_key_that_changes_its_tier_goes_on_with_its_count_and_an_owner_begins_anew(issue):
    price("free", "0", "10", 100)
    price("pro", "744", "1", 300)
    key = issue(owner_email=OWNER, created_at=BEFORE).key
    for hour in (1, 2, 3):
        use(key, START + hour * HOUR, 200)
    with connection.cursor() as cursor:  # as in psql
        cursor.execute(
            "UPDATE api_key SET tier_id = (SELECT id FROM tier WHERE name = 'pro') WHERE id = %s", [key.pk]
        )
    happened(KeyTerms, START + timedelta(hours=1, seconds=1))
    assert drawn() == [
        (OWNER, key.pk, "free", 2, 200, 100, "1.00"),
        (OWNER, key.pk, "pro", 742, 400, 300, "742.30"),
    ]
    keys.update(key_with(key, owner_email="bob@example.com"), ["owner_email"], ACTOR)
    happened(KeyTerms, START + 3 * HOUR)
    assert drawn() == [
        (OWNER, key.pk, "free", 2, 200, 100, "1.00"),
        (OWNER, key.pk, "pro", 1, 200, 100, "1.10"),
        ("bob@example.com", key.pk, "pro", 741, 200, 0, "741.00"),
    ]


def test_a_chain_of_rotations_is_one_key_until_its_last_ends(issue):
    price("free", "744", "1000", 10)
    first = issue("orders", owner_email=OWNER, created_at=START + timedelta(hours=5, minutes=59)).key
    second = keys.rotate(first.pk, timedelta(hours=2), ACTOR).key
    happened(KeyTerms, START + 9 * HOUR)
    third = keys.rotate(second.pk, timedelta(), ACTOR).key
    happened(KeyTerms, START + 20 * HOUR)
    for number, key in enumerate((first, second, third)):
        use(key, START + 10 * HOUR * (number + 1), 5)
    use(first, START + 4 * HOUR, 1)  # Redis's clock is behind
    keys.revoke(third.pk, ACTOR)
    ended = START + timedelta(hours=30, minutes=1)
    happened(KeyTerms, ended)
    KeyTerms.objects.filter(ends_at__isnull=False).update(ends_at=ended)
    assert drawn() == [(OWNER, first.pk, "free", 31 - 5, 16, 6, "32.00")]
    assert statement.draw(OCTOBER)[0].lines[0].key_hint == third.hint


def test_a_key_is_paid_for_until_the_hour_in_which_it_expires(issue):
    price("free", "744")
    key = issue(created_at=BEFORE, expires_at=START + timedelta(hours=10, minutes=30)).key
    assert drawn() == [("", key.pk, "free", 11, 0, 0, "11.00")]
    keys.update(key_with(key, expires_at=None), ["expires_at"], ACTOR)
    happened(KeyTerms, START + 20 * HOUR)
    assert drawn() == [("", key.pk, "free", 11 + 724, 0, 0, "735.00")]
    keys.update(key_with(key, expires_at=BEFORE + HOUR), ["expires_at"], ACTOR)
    happened(KeyTerms, BEFORE + HOUR)
    KeyTerms.objects.exclude(pk=KeyTerms.objects.latest("pk").pk).update(valid_from=BEFORE)
    assert drawn() == []


def test_an_upgrade_notes_what_each_chain_and_tier_has_as_it_would_have_been_noted(issue):
    first = issue(owner_email="Ada@example.com", created_at=BEFORE).key
    second = keys.rotate(first.pk, timedelta(hours=2), ACTOR).key
    keys.revoke(second.pk, ACTOR)
    issue(tier="pro", created_at=START)
    columns = ("chain_id", "tier_id", "owner_email", "ends_at")
    noted = [
        KeyTerms.objects.filter(chain=key).order_by("pk").values_list(*columns).last()
        for key in APIKey.objects.filter(replaces=None).order_by("pk")
    ]
    tiers = set(TierPrice.objects.values_list("tier", "tier_name", "price_per_month", "included_requests"))
    KeyTerms.objects.all().delete()
    TierPrice.objects.all().delete()
    _, _, notes_of_before = read_sql("0020_prices").partition("-- What is known of before")
    with connection.cursor() as cursor:
        cursor.execute(f"--{notes_of_before}")
    found = KeyTerms.objects.order_by("chain_id")
    assert list(found.values_list(*columns)) == noted
    assert list(found.values_list("valid_from", flat=True)) == [BEFORE, START]
    assert (
        set(TierPrice.objects.values_list("tier", "tier_name", "price_per_month", "included_requests"))
        == tiers
    )


def test_many_requests_do_not_overflow_and_halves_are_rounded_to_even(issue, settings):
    price("free", "0", "99999999.9999", 0)
    key = issue(created_at=BEFORE).key
    for hour in range(4):
        use(key, START + hour * HOUR, 10**9)
    assert [line[4:] for line in drawn()] == [(4 * 10**9, 4 * 10**9, "399999999999600.00")]
    UsageHourly.objects.all().delete()
    price("free", "0", "5", 0)
    use(key, START, 1)
    for currency, number, amount in (
        ("EUR", 1, "0.00"), ("EUR", 3, "0.02"), ("EUR", 5, "0.02"), ("JPY", 100, "0"), ("JPY", 300, "2"),
        ("KWD", 1, "0.005"),
    ):  # fmt: skip
        settings.CURRENCY = currency
        UsageHourly.objects.update(allowed=number)
        assert drawn()[0][-1] == amount, (currency, number)


def test_random_histories_cost_what_a_walk_through_the_hours_says(issue):
    """The reference asks of each hour which notes were in force when it began."""
    random = Random(7)  # noqa: S311  # repeatable, not secret
    names = ("free", "basic", "pro")
    for name in names:
        price(name)
    rows = [issue(owner_email=OWNER, created_at=BEFORE).key for _ in range(4)]
    for _ in range(60):
        minutes = timedelta(minutes=random.choice((random.randrange(60 * HOURS), 60 * random.randrange(9))))
        if random.random() < 0.5:
            Tier.objects.filter(name=random.choice(names)).update(
                price_per_month=Decimal(random.randrange(10**6)).scaleb(-3),
                price_per_thousand=Decimal(random.randrange(10**6)).scaleb(-3),
                included_requests=random.choice((None, random.randrange(5000))),
            )
            happened(TierPrice, START + minutes)
        else:
            KeyTerms.objects.create(
                chain=random.choice(rows),
                tier=Tier.objects.get(name=random.choice(names)),
                owner_email=random.choice((OWNER, "bob@example.com")),
                valid_from=START + minutes,
            )
    for key in rows:
        for hour in random.sample(range(HOURS), 100):
            use(key, START + hour * HOUR, random.randrange(100))
    assert [line[:2] + line[3:] for line in drawn()] == reference(rows)


def reference(rows: list[APIKey]) -> list[tuple]:
    usage = {(row.api_key_id, row.hour): row.allowed for row in UsageHourly.objects.all()}
    prices = {
        tier: list(notes)
        for tier, notes in groupby(
            TierPrice.objects.order_by("tier", "valid_from", "pk"), lambda note: note.tier_id
        )
    }
    lines = {}
    for key in rows:
        terms, used = list(KeyTerms.objects.filter(chain=key).order_by("valid_from", "pk")), {}
        for hour in (START + number * HOUR for number in range(HOURS)):
            term = [note for note in terms if note.valid_from <= hour][-1]
            paid = [note for note in prices[term.tier_id] if note.valid_from <= hour][-1]
            figures = (paid.price_per_month, paid.price_per_thousand, paid.included_requests)
            line = lines.setdefault((term.owner_email, key.pk, term.tier_id, *figures), [0, 0, 0])
            for _ in range(usage.get((key.pk, hour), 0)):
                used[term.owner_email] = used.get(term.owner_email, 0) + 1
                line[1] += 1
                line[2] += (
                    paid.included_requests is not None and used[term.owner_email] > paid.included_requests
                )
            line[0] += 1
    found = [
        (
            owner,
            key,
            *line,
            str(round(Fraction(month) * line[0] / HOURS + Fraction(thousand) * line[2] / 1000, 2)),
        )
        for (owner, key, _, month, thousand, _), line in lines.items()
        if line[1] or month
    ]
    return [
        (*line[:5], f"{Decimal(Fraction(line[5]).numerator) / Fraction(line[5]).denominator:.2f}")
        for line in sorted(found, key=lambda line: line[:2])
    ]


def test_statements_are_the_logs_count_also_when_the_log_is_dropped(db):
    load.load(60, 4000, 1, timezone.now(), lambda _: None)
    Tier.objects.update(price_per_month="9.99", price_per_thousand="0.07", included_requests=20)
    TierPrice.objects.update(valid_from=BEFORE)
    now = timezone.now()
    months = [Month.of(now - timedelta(days=31)), Month.of(now - timedelta(days=15)), Month.of(now)]
    counted: dict = {}
    for row in RequestLog.objects.filter(status_code=200).select_related("api_key"):
        place = (Month.of(row.timestamp), row.api_key.owner_email.lower())
        counted[place] = counted.get(place, 0) + row.count
    before = {month: statement.draw(month) for month in months}
    assert len(counted) > 20
    assert counted == {
        (month, each.owner): each.requests for month in months for each in before[month] if each.requests
    }
    with connection.cursor() as cursor:
        cursor.execute("SELECT request_log_drop_partitions(1)")
        assert cursor.fetchone()[0] > 20
    assert {month: statement.draw(month) for month in months} == before


def test_what_an_erased_owner_owed_stays_without_the_name(issue):
    price("free", "0", "1", 0)
    first, second = (issue(owner_email=OWNER, created_at=BEFORE).key for _ in range(2))
    given_away = issue(owner_email=OWNER, created_at=BEFORE).key
    for key in (first, second, given_away):
        use(key, START, 1000)
    keys.update(key_with(given_away, owner_email="bob@example.com"), ["owner_email"], ACTOR)
    before = drawn()
    for _ in range(2):
        erasure.erase(OWNER, ACTOR, lambda _: None, revoke=True)
        assert drawn() == [(f"erased-{first.pk}", *line[1:]) for line in before]
    assert not KeyTerms.objects.filter(owner_email=OWNER).exists()


def test_the_command_writes_each_format_and_says_whether_the_month_is_final(issue, settings):
    settings.CURRENCY = "CHF"
    price("free", "744", "1", 0)
    key = issue("=HYPERLINK(1)", owner_email="+ada@example.com", created_at=BEFORE).key
    use(key, START, 1_234_567)
    DrainCursor.objects.create(shard=0, epoch="one", last_id=f"{OCTOBER.end.timestamp() * 1000 - 1:.0f}-0")
    text, said = run("--month", "2026-10")
    assert text.startswith("2026-10, preliminary, in CHF\n")
    assert "1,234,567" in text
    assert "All owners: 1,978.57 CHF\n" in text
    assert said == "2026-10 is preliminary: no request of a later month has been copied from Redis yet.\n"
    assert not AuditEvent.objects.filter(action="exported").exists()

    DrainCursor.objects.update(last_id=f"{OCTOBER.end.timestamp() * 1000:.0f}-0")
    text, said = run("--month", "2026-10", "--owner", "+ADA@example.com", "--format", "csv")
    assert said == ""
    [row] = csv.DictReader(io.StringIO(text, newline=""))
    assert row == {
        "month": "2026-10", "state": "final", "owner_email": "'+ada@example.com", "key": str(key.pk),
        "key_name": "'=HYPERLINK(1)", "key_hint": key.hint, "tier": "free", "hours": "744",
        "price_per_month": "744.0000", "requests": "1234567", "included_requests": "0",
        "extra_requests": "1234567", "price_per_thousand": "1.0000", "amount": "1978.57", "currency": "CHF",
    }  # fmt: skip
    document = json.loads(run("--month", "2026-10", "--format", "json")[0])
    assert document["amount"] == document["statements"][0]["lines"][0]["amount"] == "1978.57"
    assert document["statements"][0]["lines"][0]["key_name"] == "=HYPERLINK(1)"
    DrainCursor.objects.create(shard=1)
    assert not statement.is_final(OCTOBER)
    assert [event.detail for event in AuditEvent.objects.filter(action="exported").order_by("pk")] == [
        {"statement": "2026-10", "format": "csv", "owner_email": "+ADA@example.com"},
        {"statement": "2026-10", "format": "json"},
    ]


@pytest.mark.parametrize("month", ["2026-13", "2026-1", "10-2026", "２０２６-10", "8999-01", "x"])
def test_a_month_that_is_none_or_lies_ahead_is_refused(db, month):
    with pytest.raises(CommandError, match="--month"):
        run("--month", month)


def test_the_pages_show_all_owners_and_one_and_the_audit_who_had_a_file(site: Client, issue):
    price("free", "100", "0.5", 1000)
    price("pro")
    key = issue("Checkout", owner_email=OWNER, created_at=BEFORE).key
    use(key, START, 3000)
    use(issue("Nobody's", tier="pro", created_at=BEFORE).key, START, 5)
    page = site.get(PAGE, {"month": "2026-10"})
    assert [(each.owner, each.requests, str(each.amount)) for each, _ in page.context["statements"]] == [
        ("", 5, "0.00"),
        (OWNER, 3000, "101.00"),
    ]
    assert "Keys without an owner" in page.text
    assert "Preliminary" in page.text
    [(_, nobody), (_, ada)] = page.context["statements"]
    assert "Nobody&#x27;s" in site.get(nobody).text
    page = site.get(ada)
    assert [line.extra for line in page.context["statement"].lines] == [2000]
    assert "Checkout" in page.text
    assert "Nobody&#x27;s" not in page.text
    for query, owners in (({}, ["", OWNER]), ({"owner": OWNER}, [OWNER]), ({"owner": ""}, [""])):
        answer = site.get(f"{PAGE}csv/", {"month": "2026-10"} | query)
        assert answer.headers["Content-Disposition"].startswith("attachment; ")
        assert [row["owner_email"] for row in csv.DictReader(io.StringIO(answer.text, newline=""))] == owners
    event = AuditEvent.objects.filter(action="exported").order_by("pk")[1]
    assert event.detail == {"statement": "2026-10", "format": "csv", "owner_email": OWNER}
    assert event.actor == "admin:alice"


def test_the_pages_open_with_the_last_month_and_refuse_others_than_there_are(site: Client, issue):
    now = timezone.now()
    assert site.get(PAGE).context["month"] == Month.of(now)  # no key yet
    issue(created_at=now - timedelta(days=100))
    last = Month.of(now.replace(day=1) - timedelta(days=1))
    assert site.get(PAGE).context["month"] == last
    for month in ("1999-01", "2026-13", "x", ""):
        assert site.get(PAGE, {"month": month}).status_code == 400
        assert site.get(f"{PAGE}csv/", {"month": month}).status_code == 400
    for path in ("", "csv/"):
        assert site.get(f"{PAGE}{path}", {"owner": "\0"}).status_code == 400
    assert not AuditEvent.objects.filter(action="exported").exists()


def test_a_page_that_takes_too_long_is_ended_and_names_the_command(site: Client, monkeypatch):
    monkeypatch.setattr("api_manager.admin.statement._LONGEST", timedelta(milliseconds=20))
    monkeypatch.setattr(statement, "_LINES", "SELECT pg_sleep(9)")
    month = str(Month.of(timezone.now()))
    for path, status in (("", 200), ("csv/", 503)):
        answer = site.get(f"{PAGE}{path}", {"month": month})
        assert answer.status_code == status
        assert f"manage.py statement --month {month}" in answer.text
    assert not AuditEvent.objects.filter(action="exported").exists()


def test_what_it_takes_to_name_the_keys_does_not_grow_by_their_square(db):
    """By PostgreSQL's own reckoning: for 10,000 numbers it must not compare each key with each of them."""

    def reckoned(numbers: int) -> float:
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (FORMAT JSON) {statement._NEWEST}", [list(range(1, numbers + 1))])
            return cursor.fetchone()[0][0]["Plan"]["Total Cost"]

    assert reckoned(10_000) < 2 * reckoned(10)


def test_statements_have_a_permission_of_their_own(db):
    client = Client()
    client.force_login(User.objects.create_user("vera", is_staff=True))
    assert client.get(PAGE).status_code == client.get(f"{PAGE}csv/").status_code == 403


def test_months_follow_one_another():
    assert Month.parse("2026-12").next == Month(2027, 1)
    assert (Month(2028, 2).hours, Month.of(datetime(2026, 10, 31, 23, 59, tzinfo=UTC))) == (29 * 24, OCTOBER)

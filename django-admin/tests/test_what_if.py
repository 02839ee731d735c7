"""What if: the log under other limits, by command and by page. The arithmetic is held by a contract test."""

import csv
import json
import shlex
from datetime import timedelta
from io import StringIO

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from api_manager import keys
from api_manager.admin import what_if as page
from api_manager.audit import Actor
from api_manager.models import (
    APIKey,
    AuditEvent,
    KeyLimit,
    RequestLog,
    Tier,
    TierLimit,
    UsageDaily,
    UsageHourly,
)
from api_manager.what_if.question import QuestionForm, present
from api_manager.what_if.replay import TooMuch, replay

HOUR = timedelta(hours=1)
NOON = (timezone.now() - timedelta(days=3)).replace(hour=12, minute=0, second=0, microsecond=0)
SPAN = {"since": NOON.isoformat(), "until": (NOON + 6 * HOUR).isoformat()}


def log(key: APIKey, *seconds: float, status: int = 200, count: int = 1, cost: int = 1, endpoint: str = "/a"):
    """Rows of a key, so many seconds after noon."""
    RequestLog.objects.bulk_create(
        RequestLog(
            api_key=key,
            endpoint=endpoint,
            status_code=status,
            cost=cost,
            count=count,
            timestamp=NOON + timedelta(seconds=each),
        )
        for each in seconds
    )


def ask(tier: str = "free", key: APIKey | None = None, **said):
    """The answer for a tier or key: what is said, and the rest as it is."""
    return replay(question(tier, key, **said))


def question(tier: str, key: APIKey | None = None, **said):
    row = Tier.objects.get(name=tier)
    form = QuestionForm(present(row, key) | SPAN | said, row, key)
    assert form.is_valid(), form.errors
    return form.question


def counts(result):
    total = result.total
    return total.admitted, total.denied, total.would_admit, total.would_deny


def run(*arguments: str) -> str:
    call_command("what_if", *arguments, stdout=(out := StringIO()), stderr=(err := StringIO()))
    assert err.getvalue() == ""  # no terminal, no bar
    return out.getvalue()


def test_hours_keys_and_limits_tell_what_would_have_been(issue):
    busy, quiet = issue("busy").key, issue("quiet").key
    log(busy, *range(0, 100, 10))
    log(busy, *range(100, 140, 10), status=429)
    log(busy, 7200)
    log(busy, 30, status=403)
    log(quiet, 50, 4000)
    answer = ask(requests_per_hour=6, burst=4)
    # Full at first; one token more comes back in 600 s.
    assert counts(answer) == (13, 4, 7, 10)
    assert [(each.sums.admitted, each.sums.would_admit) for each in answer.hours] == [
        (11, 5), (1, 1), (1, 1), (0, 0), (0, 0), (0, 0)
    ]  # fmt: skip
    assert [(each.key, each.sums.newly_denied, each.sums.newly_admitted) for each in answer.top] == [
        (busy, 6, 0)
    ]
    assert (answer.keys, answer.changed_keys, answer.rows) == (2, 1, 17)
    assert answer.denied_by == {"default": 10}
    assert answer.error == 0
    assert counts(ask(requests_per_hour=1000)) == (13, 4, 17, 0)


def test_rotated_keys_are_one_and_own_numbers_stay(issue):
    first = issue("rotated").key
    own = issue("own", requests_per_hour=5000).key
    second = keys.rotate(first.pk, HOUR, Actor("test:x")).key
    log(first, 0, 1)
    log(second, 2, 3)
    log(own, *range(10))
    for each in (first, second):
        assert counts(ask(key=second, requests_per_hour=1, burst=3)) == (4, 0, 3, 1)
        assert (
            json.loads(run("--key", str(each.pk), "--burst", "3", "--format", "json", *times()))["key"]
            == second.pk
        )
    assert counts(ask(requests_per_hour=1, burst=None)) == (14, 0, 11, 3)


def test_a_time_without_requests_says_so(issue):
    assert "The log has no requests of this time." in run("--key", str(issue().key.pk), *times())


def times():
    return "--since", SPAN["since"], "--until", SPAN["until"]


def test_further_limits_hold_for_their_endpoints_and_shadows_deny_nothing(issue):
    key = issue().key
    TierLimit.objects.create(
        tier=key.tier, name="exports", requests=2, window_seconds=3600, endpoint_prefix="/export"
    )
    KeyLimit.objects.create(api_key=key, name="exports", requests=3)
    log(key, *range(5), endpoint="/export/a")
    log(key, *range(10, 15), endpoint="/list")
    assert counts(ask()) == (10, 0, 8, 2)  # its own number
    assert counts(ask(limits="exports:1/3600@/export\nall:4/day")) == (10, 0, 4, 6)
    assert counts(ask(limits="~exports:1/3600@/export")) == (10, 0, 10, 0)
    assert counts(ask(key=key, limits="exports:1/3600@/export")) == (10, 0, 6, 4)
    denied = ask(limits="exports:1/3600@/export\nall:4/day").denied_by
    assert denied == {"exports": 2, "all": 4}


def test_a_quota_begins_with_what_was_spent_before(issue):
    key = issue().key
    day = NOON.replace(hour=0)
    for hour, cost in ((day - HOUR, 50), (day + HOUR, 7)):
        UsageHourly.objects.create(api_key=key, hour=hour, endpoint="/a", allowed=cost, limited=0, cost=cost)
    log(key, *range(5))
    assert counts(ask(limits="daily:10/day")) == (5, 0, 3, 2)


def test_what_buckets_held_before_is_known_or_in_doubt(issue):
    known, doubtful = issue("known", "pro").key, issue("doubtful", "basic").key
    log(known, *range(-3000, 0, 5))
    log(known, *range(10))
    # At a token an hour a day's warm-up brings 24 back, of a burst of 40 that may have been spent before.
    log(doubtful, -7200, *range(30))
    answer = ask("basic", requests_per_hour=1, burst=40)
    assert counts(answer) == (30, 0, 30, 0)
    assert answer.error == 7
    log(doubtful, 40, cost=2)
    assert ask("basic", requests_per_hour=1, burst=40).error == 8
    assert ask("basic", requests_per_hour=100, burst=40).error == 0


def test_days_that_the_log_has_dropped_are_refused_or_left_out_and_leave_buckets_unknown(site, issue):
    key = issue().key
    day = NOON.replace(hour=0)
    tier = key.tier
    for ago in (0, 1, 2):
        UsageDaily.objects.create(day=(day - timedelta(days=ago)).date(), api_key=key, allowed=9, cost=9)
    UsageHourly.objects.create(api_key=key, hour=day - HOUR, endpoint="/a", allowed=9, cost=9)
    log(key, *range(-12 * 3600, -12 * 3600 + 5))

    def errors(since, until):
        form = QuestionForm(present(tier) | {"since": since.isoformat(), "until": until.isoformat()}, tier)
        return form.errors.get("since", [""])[0]

    assert "has dropped this time" in errors(day - 2 * HOUR, day)
    assert f"Begin with {day:%Y-%m-%d} 00:00" in errors(day - 2 * HOUR, day + HOUR)
    assert errors(day, day + HOUR) == ""
    week = QuestionForm(present(tier) | {"range": "7d"}, tier)
    assert week.is_valid(), week.errors
    assert week.span.start == day
    shown = [site.get(url(tier), present(tier) | {"burst": "", "range": each}) for each in ("1h", "7d")]
    assert [b"has dropped what was before" in each.content for each in shown] == [False, True]
    # What the day before had spent of the buckets nobody knows; of the quotas the usage does.
    of_day = {"since": day.isoformat(), "until": (day + 12 * HOUR).isoformat()}
    answer = ask(requests_per_hour=1, burst=3, **of_day)
    assert (counts(answer), answer.error) == ((5, 0, 3, 2), 3)
    if day.day > 1:
        assert counts(ask(limits="monthly:12/month", **of_day)) == (5, 0, 3, 2)


def test_denials_that_share_a_row_are_each_decided_and_bounded(issue):
    key = issue().key
    log(key, 0)
    log(key, 1, status=429, count=500)
    log(key, 7200)
    answer = ask(requests_per_hour=3600, burst=100)
    assert counts(answer) == (2, 500, 102, 400)
    assert (answer.error, answer.shared) == (2, 500)
    # A period ends within the second that the row stands for: nobody knows which had how many.
    log(key, 12 * 3600 + 0.5, status=429, count=30)
    later = {"since": NOON.isoformat(), "until": (NOON + 13 * HOUR).isoformat()}
    assert ask(limits="daily:1000/day", **later).error == 31


def test_a_denial_that_may_have_come_before_a_token_did_is_in_doubt(issue):
    key = issue().key
    log(key, 0, 2)
    # From a worker's memory, asked before the second in which a token came back was over.
    log(key, 1.04, status=429)
    answer = ask(requests_per_hour=3600, burst=1)
    assert counts(answer) == (2, 1, 2, 1)
    assert answer.error == 1
    log(key, 100.5, 104)
    assert ask(requests_per_hour=3600, burst=1).error == 1
    log(key, 102.7, status=429)
    assert ask(requests_per_hour=3600, burst=1).error == 1  # it was back for long
    log(key, 12 * 3600 + 0.04, status=429)
    later = {"since": NOON.isoformat(), "until": (NOON + 13 * HOUR).isoformat()}
    assert ask(limits="daily:6/day", **later).error == 1  # of two days, and would be admitted in one of them


def test_the_command_writes_a_table_csv_and_json(issue):
    key = issue("orders").key
    log(key, 0, 1, 2, 3700)
    of = ("--tier", "free", "--requests-per-hour", "1", "--burst", "2", *times())
    table = run(*of)
    assert f"{NOON:%Y-%m-%d %H:%M}         3       0            2           1" in table
    assert "orders (rlk_live_" in table
    assert "Denied by default 1" in table
    rows = list(csv.DictReader(StringIO(run(*of, "--format", "csv"))))
    assert len(rows) == 6
    assert list(rows[1].values()) == [f"{NOON + HOUR:%Y-%m-%dT%H:%M:%SZ}", "1", "0", "1", "0"]
    document = json.loads(run(*of, "--format", "json"))
    assert (document["would_admit"], document["newly_denied"], document["error"]) == (3, 1, 0)
    assert [each["key"] for each in document["top_keys"]] == [key.pk]
    assert not AuditEvent.objects.filter(action="updated").exists()


def test_a_limit_replaces_the_one_of_its_name_and_another_is_left_out(issue):
    tier = issue().key.tier
    for name in ("second", "exports"):
        TierLimit.objects.create(tier=tier, name=name, requests=10, window_seconds=1)
    of = ("--tier", "free", "--format", "json", *times())
    changed = ("--limit", "second:5/1:20@/v1", "--limit", "~monthly:100/month", "--without", "exports")
    assert json.loads(run(*of, *changed))["limits"] == ["second:5/1:20@/v1", "~monthly:100/month"]
    assert json.loads(run(*of))["limits"] == ["second:10/1", "exports:10/1"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--tier", "gold"), "there is no tier 'gold'; there are: free, basic, pro, enterprise"),
        (("--key", "x"), "there is no key with the number 'x'"),
        (("--tier", "free", "--limit", "second"), "--limit: second: expected name:requests/window"),
        (("--tier", "free", "--limit", "Second:1/1"), "name: A letter, then letters"),
        (("--tier", "free", "--limit", "default:1/1"), "have this name"),
        (("--tier", "free", "--limit", "m:1/month:2"), "burst: A quota has no burst"),
        (("--tier", "free", "--without", "m"), "--without: there is no limit 'm'; there are: none"),
        (("--tier", "free", "--requests-per-hour", "0"), "--requests-per-hour: Ensure this value is greater"),
        (("--tier", "free", "--burst", "1000000000"), "--burst: At 100 requests per hour a burst"),
        (("--tier", "free", "--since", "yesterday"), "'yesterday' is no time"),
        (("--tier", "free", "--since", "2999-01-01T00:00"), "--since: It must begin before it ends"),
        (("--tier", "free", "--since", "2020-01-01T00:00"), "--since: At most 92 days at once"),
        ((), "one of the arguments --tier --key is required"),
    ],
)
def test_what_cannot_be_meant_is_told(db, arguments, said):
    with pytest.raises(CommandError) as caught:
        run(*arguments)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "said",
    [
        {"until": "0001-01-01T00:00"},
        {"since": "0001-01-01T00:00+14:00"},
        {"since": "9999-12-31T23:00-14:00"},
        {"until": "0001-01-01T00:00+14:00"},
        {"since": "2026-01-01T00:00", "until": "2025-01-01T00:00"},
        {"range": "1y"},
        {"since": "x"},
        {"limits": "a:1/60\x00"},
        {"limits": "a:1/60@"},
        {"limits": "a:1/60\na:2/60"},
        {"limits": "\n".join(f"a{number}:1/60" for number in range(30))},
        {"limits": "a:0/60"},
        {"limits": "a:999999999999999999/day"},
        {"limits": "a:1/999999999999999999:999999999999999999"},
        {"requests_per_hour": "9" * 30},
        {"burst": "0"},
    ],
)
def test_what_a_page_cannot_mean_is_told_at_its_field(db, said):
    tier = Tier.objects.get(name="free")
    form = QuestionForm(present(tier) | said, tier)
    assert not form.is_valid()
    [name] = form.errors
    assert name in said


def url(row, name="what_if"):
    return reverse(f"admin:api_manager_{row._meta.model_name}_{name}", args=[row.pk])


def test_the_page_asks_answers_and_saves_nothing(site, issue):
    key = issue("orders").key
    log(key, 0, 1, 2, 3700)
    events = AuditEvent.objects.count()
    for row in (key, key.tier):
        assert b"What if" in site.get(url(row)).content
        assert url(row).encode() in site.get(url(row, "change")).content
        answer = site.get(url(row), {"requests_per_hour": "1", "burst": "2", "limits": ""} | SPAN)
        assert counts(answer.context["result"]) == (4, 0, 3, 1)
        assert "orders" in answer.content.decode()
        # The command that it tells asks the same.
        words = shlex.split(answer.context["command"])[2:]
        assert json.loads(run(*words, "--format", "json"))["would_admit"] == 3
        week = site.get(url(row), {"requests_per_hour": "1", "limits": "", "range": "30d"})
        assert len(week.context["charts"][0].labels) == 31
    assert AuditEvent.objects.count() == events
    wrong = site.get(url(key.tier), {"requests_per_hour": "0", "limits": "x"})
    assert wrong.status_code == 400
    assert "expected name:requests/window" in wrong.content.decode()
    assert site.get(url(key.tier).replace(str(key.tier.pk), "999")).status_code == 404


def test_a_page_looks_at_so_many_rows_and_names_the_command_for_more(site, issue, monkeypatch):
    key = issue().key
    log(key, *range(5))
    monkeypatch.setattr(page, "MOST_ROWS", 4)
    answer = site.get(url(key.tier), present(key.tier) | {"burst": ""} | SPAN)
    assert "result" not in answer.context
    assert "manage.py what_if --tier free" in answer.content.decode()
    with pytest.raises(TooMuch):
        replay(question("free"), longest=timedelta(0))


def test_what_was_asked_is_carried_over_into_the_form_and_saved_there(site, issue):
    key = issue().key
    tier = key.tier
    for name in ("second", "exports"):
        TierLimit.objects.create(tier=tier, name=name, requests=10, window_seconds=1)
    asked = {"requests_per_hour": "50", "burst": "", "limits": "second:5/1:20\nmonthly:100/month"}
    link = site.get(url(tier), asked | SPAN).context["edit_link"]
    form = site.get(link)
    assert "Nothing is saved yet" in form.content.decode()
    data = sent(form.context["adminform"].form, form.context["inline_admin_formsets"][0].formset)
    assert site.post(link, data).status_code == 302
    tier.refresh_from_db()
    assert (tier.requests_per_hour, tier.burst) == (50, None)
    assert present(tier)["limits"] == asked["limits"]

    asked = {"requests_per_hour": "", "burst": "9", "limits": "second:7/1:20\nmonthly:100/month"}
    link = site.get(url(key), asked | SPAN).context["edit_link"]
    form = site.get(link)
    data = sent(form.context["adminform"].form, form.context["inline_admin_formsets"][0].formset)
    assert site.post(link, data).status_code == 302
    key.refresh_from_db()
    assert (key.requests_per_hour, key.burst) == (None, 9)
    assert [(own.name, own.requests, own.burst) for own in key.limits.all()] == [("second", 7, None)]


def sent(form, formset):
    """What a browser would send of a form and its inline."""
    fields = [field for each in (form, formset.management_form, *formset.forms) for field in each]
    return {
        field.html_name: "on" if value is True else value
        for field in fields
        if (value := field.value()) is not None and value is not False
    }


def test_who_may_not_see_requests_or_tiers_may_not_ask(issue):
    key = issue().key
    user = User.objects.create_user("vera", "vera@example.com", "x", is_staff=True)
    client = Client()
    client.force_login(user)
    for name, allowed in (("view_apikey", ()), ("view_requestlog", ()), ("view_tier", (key, key.tier))):
        user.user_permissions.add(Permission.objects.get(codename=name))
        for row in (key, key.tier):
            assert client.get(url(row)).status_code == (200 if row in allowed else 403)
    answer = client.get(url(key.tier), present(key.tier) | {"burst": ""} | SPAN)
    assert "edit_link" not in answer.context
    # Who may not edit sees the tier as it is.
    carried = client.get(url(key.tier, "change"), {"requests_per_hour": "7777", "limits": "", "what_if": "1"})
    assert "7777" not in carried.content.decode()

"""The page of a key: what it shows, to whom, and what it costs."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.html import escape

from api_manager import chain, key_page, keys
from api_manager.audit import Actor
from api_manager.models import APIKey, KeyActivity, RequestLog, UsageMinutely

ACTOR = Actor("test:page")
LIST = "/admin/api_manager/apikey/"
ACTIONS = ("rotate", "expiry", "limits", "networks", "note", "edit", "revoke")


def url(key: APIKey) -> str:
    return f"{LIST}{key.pk}/change/"


def facts(page: str) -> dict[str, str]:
    """What the card of the key says, without its markup."""
    page = page.split('<table class="facts">', 1)[1].split("</table>", 1)[0]
    rows = re.findall(r'<tr><th scope="row">(.+?)</th><td>(.*?)</td></tr>', page, re.DOTALL)
    return {name: " ".join(re.sub(r"<[^>]+>", " ", value).split()) for name, value in rows}


def log(key: APIKey, rows: int, **fields) -> None:
    now = timezone.now()
    values = {"endpoint": "/v1/orders", "status_code": 200, "cost": 1, "remaining": 7} | fields
    RequestLog.objects.bulk_create(
        RequestLog(api_key=key, timestamp=now - timedelta(milliseconds=number), **values)
        for number in range(rows)
    )


@pytest.fixture
def viewer(db) -> Client:
    """Somebody who may look at keys, and at nothing else."""
    user = User.objects.create_user("vera", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_apikey"))
    client = Client()
    client.force_login(user)
    return client


def test_it_says_what_is_in_force_and_what_is_of_the_keys_own(site: Client, issue):
    key = issue(
        "billing",
        "basic",
        owner_email="o@example.com",
        burst=50,
        note="Ask <first>.\nThen act.",
        allowed_cidrs=["192.0.2.0/24", "2001:db8::/32"],
    ).key
    moment = datetime(2026, 11, 22, 6, 28, 45, 445711, tzinfo=UTC)
    KeyActivity.objects.create(api_key=key, last_used_at=moment)
    page = site.get(url(key)).text
    told = facts(page)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", told.pop("Created"))
    assert told == {
        "Owner": "o@example.com",
        "Tier": "basic",
        "Rate": "1,000 requests per hour",
        "Burst": "50 of its own; its tier has as many as requests per hour",
        "Networks": "192.0.2.0/24 2001:db8::/32",
        "Last used": "2026-11-22 06:28:45 UTC",
        "Expires": "never",
        "Note": f"{escape('Ask <first>.')} Then act.",
    }
    assert key.hint in page
    assert '<span class="status status-active">' in page


def test_a_plain_key_has_its_tiers_limits_and_was_never_used(site: Client, issue):
    told = facts(site.get(url(issue().key)).text)
    assert (told["Rate"], told["Burst"], told["Networks"]) == ("100 requests per hour", "100", "any")
    assert (told["Owner"], told["Last used"]) == ("–", "never")
    assert "Note" not in told
    assert "Revoked" not in told


def test_a_revoked_key_says_when_and_why_and_offers_nothing(site: Client, issue):
    for reason, said in (("It has leaked.", "It has leaked."), ("", "none was given")):
        key = issue().key
        keys.revoke(key.pk, ACTOR, reason)
        page = site.get(url(key)).text
        assert facts(page)["Reason"] == said
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", facts(page)["Revoked"])
        assert not [action for action in ACTIONS if f"{LIST}{key.pk}/{action}/" in page]


def test_its_actions_are_buttons_for_who_may_change_keys(site: Client, viewer: Client, issue):
    key = issue().key
    page = site.get(url(key)).text
    assert [action for action in ACTIONS if f'href="{LIST}{key.pk}/{action}/"' in page] == list(ACTIONS)
    page = viewer.get(url(key)).text
    assert not [action for action in ACTIONS if f"{LIST}{key.pk}/{action}/" in page]


def test_who_may_only_see_keys_sees_no_log_no_usage_and_no_audit(site: Client, viewer: Client, issue):
    key = issue().key
    log(key, 1, endpoint="/v1/secret")
    sections = ("Last 100 requests", "History", "Requests in the last 24 hours")
    page = site.get(url(key)).text
    assert [title for title in sections if title in page] == list(sections)
    page = viewer.get(url(key)).text
    assert [title for title in sections if title in page] == []
    assert "/v1/secret" not in page
    assert facts(page)["Tier"] == "free"
    assert "/api_manager/tier/" not in page


def test_the_last_hundred_requests_are_there_the_newest_first(site: Client, issue):
    key, other = issue().key, issue("other").key
    log(key, 101)
    log(key, 1, status_code=429, count=1234, client_ip="192.0.2.9", endpoint="/<b>", remaining=None)
    log(other, 3, endpoint="/others")
    page = site.get(url(key)).text
    assert page.count('data-label="Endpoint"') == key_page.LAST_REQUESTS
    first = re.search(r"<tbody>\s*<tr>(.*?)</tr>", page.split("Last 100 requests", 1)[1], re.DOTALL)[1]
    for text in ("/&lt;b&gt;", "429 limited", "× 1,234", "192.0.2.9", "–"):
        assert text in first
    assert "/others" not in page
    assert f'href="/admin/api_manager/requestlog/?api_key={key.pk}"' in page


def test_the_history_says_who_changed_what_from_what_to_what(site: Client, issue):
    key, other = issue().key, issue("other").key
    for each, note in ((key, "mine"), (other, "not mine")):
        each.note = note
        keys.update(each, ["note"], Actor("admin:carl"))
    history = site.get(url(key)).text.split("History", 1)[1]
    assert "admin:carl" in history
    assert "note: – → mine" in history
    assert "not mine" not in history
    link = f"/admin/api_manager/auditevent/?target_type=key&target_id={key.pk}"
    assert link in history.replace("&amp;", "&")
    assert [event.target_id for event in site.get(link).context["cl"].result_list] == [key.pk, key.pk]


def test_the_chart_is_of_the_range_that_was_asked_for(site: Client, issue):
    key = issue().key
    minute = timezone.now().replace(second=0, microsecond=0)
    UsageMinutely.objects.create(api_key=key, minute=minute, allowed=5, limited=2, cost=9)
    for name, title, allowed in (
        ("1h", "1 hour", [5]),
        ("24h", "24 hours", [5]),
        ("7d", "7 days", []),
        ("30d", "30 days", []),
    ):
        response = site.get(url(key), {"range": name})
        chart = response.context["chart"]
        assert chart.title == f"Requests in the last {title.removeprefix('1 ')}"
        assert [count for count in chart.series["Allowed"] if count] == allowed
        assert re.findall(r'href="\?range=(\w+)" aria-current="true"', response.text) == [name]
    for name in ("", "1y", "24H", "<b>"):
        assert site.get(url(key), {"range": name}).status_code == 400


def test_a_key_that_is_not_there_leads_back_to_the_overview(site: Client):
    for key_id in ("0", "x", "99999999999999999999"):
        response = site.get(f"{LIST}{key_id}/change/", follow=True)
        assert response.redirect_chain == [("/admin/", 302)]
        assert "doesn’t exist" in str(next(iter(response.context["messages"])))


def test_a_chain_of_rotations_is_shown_from_each_of_its_keys(site: Client, issue):
    first = issue().key
    second = keys.rotate(first.pk, timedelta(hours=1), ACTOR).key
    third = keys.rotate(second.pk, timedelta(hours=1), ACTOR).key
    for key in (first, second, third):
        rotations = site.get(url(key)).text.split("Rotations", 1)[1].split("History", 1)[0]
        hints = re.findall(r"<code>(rlk_live_.+?)</code>", rotations)
        assert hints == [third.hint, second.hint, first.hint]
        links = re.findall(r'href="(.+?)"', rotations)
        assert links == [url(other) for other in (third, second, first) if other != key]
    assert f'replaced by <a href="{url(third)}"' in site.get(url(first)).text
    assert "was replaced by" not in site.get(url(third)).text


def test_of_a_long_chain_the_neighbours_are_shown_and_the_newest_is_known(issue):
    row = issue().key
    rows = [row, *(row := keys.rotate(row.pk, timedelta(), ACTOR).key for _ in range(24))]
    found = chain.chain(rows[2])
    assert found.keys == rows[12::-1]
    assert (found.newest, found.left_out) == (rows[-1], 12)


def test_its_queries_are_few_and_none_scans_the_log(site: Client, issue):
    def queries(key: APIKey) -> list[str]:
        with CaptureQueriesContext(connection) as captured:
            assert site.get(url(key)).status_code == 200
        return [query["sql"] for query in captured]

    plain, busy = issue().key, issue().key
    one = queries(plain)
    log(busy, 300)
    key = keys.rotate(busy.pk, timedelta(hours=1), ACTOR).key
    for number in range(20):
        key.note = str(number)
        keys.update(key, ["note"], ACTOR)
    many = queries(busy)
    assert len(many) == len(one) <= 14

    asked = [sql for sql in many if '"request_log"' in sql]
    assert len(asked) == 1
    with connection.cursor() as cursor:
        # Few rows would be read whole, whatever indexes there are.
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {asked[0]}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Seq Scan" not in plan
    assert f"((api_key_id >= {busy.pk}) AND (api_key_id <= {busy.pk}))" in plan
    assert "timestamp_id_idx" not in plan
    assert "Limit" in plan


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.2, "1 s"),
        (12, "12 s"),
        (60, "1 min"),
        (3599.5, "1 h"),
        (3605, "1 h"),
        (7500, "2 h 5 min"),
        (90061, "1 d 1 h"),
    ],
)
def test_a_time_to_wait_is_said_in_two_units(seconds, text):
    assert key_page.wait(seconds) == text

import re
from collections.abc import Sequence
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from api_manager import credentials, keys
from api_manager.audit import Actor
from api_manager.models import APIKey, AuditEvent, KeyActivity, KeyLimit, Tier, TierLimit

LIST = "/admin/api_manager/apikey/"
ADD = f"{LIST}add/"
KEY = re.compile(r"rlk_[a-z]+_[0-9A-Za-z]{49}")


def change_url(key: APIKey) -> str:
    return reverse("admin:api_manager_apikey_change", args=[key.pk])


def form(**fields) -> dict[str, str]:
    tier = Tier.objects.get(name=fields.pop("tier", "free"))
    data = {
        "name": "orders",
        "owner_email": "",
        "tier": tier.pk,
        "requests_per_hour": "",
        "burst": "",
        "is_active": "on",
        "expires_at_0": "",
        "expires_at_1": "",
        "limits-TOTAL_FORMS": "0",
        "limits-INITIAL_FORMS": "0",
    }
    return data | fields


def database_dump() -> str:
    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor)
        rows = []
        assert {"api_key", "django_session", "django_admin_log", "audit_event"} <= set(tables)
        for table in tables:
            cursor.execute(f"SELECT string_agg(t::text, ' ') FROM {table} AS t")  # noqa: S608  # names of tables
            rows.append(cursor.fetchone()[0] or "")
    return "".join(rows)


def test_a_new_key_is_shown_once_and_only_its_digest_is_kept(site: Client, caplog):
    response = site.post(ADD, form(owner_email="o@example.com"))
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    shown = KEY.findall(response.text)
    assert len(shown) == 1
    (secret,) = shown
    key = APIKey.objects.get()
    assert bytes(key.digest) == credentials.digest(secret)
    assert secret not in database_dump()
    assert all(secret not in str(session.get_decoded()) for session in Session.objects.all())
    assert secret not in caplog.text
    for url in (LIST, change_url(key), f"{change_url(key)[:-7]}history/", "/admin/"):
        page = site.get(url).text
        assert not KEY.findall(page)
        assert credentials.digest(secret).hex() not in page
    assert AuditEvent.objects.get().actor == "admin:alice"
    assert AuditEvent.objects.get().client_ip == "127.0.0.1"
    assert AuditEvent.objects.get().request_id == response["X-Request-ID"]
    assert LogEntry.objects.get().is_addition()


def test_asking_for_another_form_still_shows_the_key(site: Client):
    for button in ("_addanother", "_continue"):
        assert KEY.search(site.post(ADD, form() | {button: "1"}).text)


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"name": ""}, "name", "required"),
        ({"name": "x" * 101}, "name", "at most 100"),
        ({"owner_email": "nobody"}, "owner_email", "valid email"),
        ({"requests_per_hour": "0"}, "requests_per_hour", "greater than or equal to 1"),
        ({"requests_per_hour": "10000000001"}, "requests_per_hour", "less than or equal to 10000000000"),
        ({"requests_per_hour": "many"}, "requests_per_hour", "whole number"),
        ({"burst": "0"}, "burst", "greater than or equal to 1"),
        ({"burst": "1000000001"}, "burst", "less than or equal to 1000000000"),
        ({"burst": "8760001"}, "burst", "over ten years"),
        ({"burst": "87601", "requests_per_hour": "1"}, "burst", "over ten years"),
        ({"expires_at_0": "2020-01-01", "expires_at_1": "00:00"}, "expires_at", "has passed"),
        ({"expires_at_0": "soon", "expires_at_1": "00:00"}, "expires_at", "valid date"),
    ],
)
def test_bad_input_is_refused_at_its_field_and_changes_nothing(site: Client, fields, field, message):
    response = site.post(ADD, form(**fields))
    assert response.status_code == 200
    errors = response.context["adminform"].form.errors
    assert list(errors) == [field]
    assert message in str(errors[field])
    assert APIKey.objects.count() == LogEntry.objects.count() == AuditEvent.objects.count() == 0


def test_a_rate_of_its_own_must_refill_the_tiers_burst(site: Client):
    Tier.objects.filter(name="pro").update(burst=500_000)
    response = site.post(ADD, form(tier="pro", requests_per_hour="5"))
    assert "over ten years" in str(response.context["adminform"].form.errors["requests_per_hour"])
    assert KEY.search(site.post(ADD, form(tier="pro", requests_per_hour="6")).text)


def test_an_edit_is_in_both_histories(site: Client, issue):
    key = issue(requests_per_hour=50).key
    response = site.post(change_url(key), form(name="renamed", tier="pro", burst="70"))
    assert response.status_code == 302
    key.refresh_from_db()
    assert (key.name, key.tier.name, key.requests_per_hour, key.burst) == ("renamed", "pro", None, 70)
    event = AuditEvent.objects.get(action="updated")
    assert event.detail["changed"] == {
        "name": ["orders", "renamed"],
        "tier": ["free", "pro"],
        "requests_per_hour": [50, None],
        "burst": [None, 70],
    }
    assert "Burst" in LogEntry.objects.get().get_change_message()


def test_an_edit_that_changes_nothing_is_not_audited(site: Client, issue):
    expires_at = timezone.now() + timedelta(days=1)
    key = issue(expires_at=expires_at).key
    day, moment = f"{expires_at:%Y-%m-%d %H:%M:%S}".split()
    assert site.post(change_url(key), form(expires_at_0=day, expires_at_1=moment)).status_code == 302
    key.refresh_from_db()
    assert key.expires_at == expires_at
    assert not AuditEvent.objects.filter(action="updated").exists()


def test_an_expired_key_can_still_be_renamed(site: Client, issue):
    key = issue(expires_at=timezone.now() - timedelta(days=1)).key
    day, moment = f"{key.expires_at:%Y-%m-%d %H:%M:%S}".split()
    data = form(name="old", expires_at_0=day, expires_at_1=moment)
    assert site.post(change_url(key), data).status_code == 302


def test_what_is_not_an_operators_to_say_cannot_be_posted(site: Client, issue):
    key = issue().key
    forged = {"hint": "x", "digest": "x", "revoked_at": "2020-01-01", "replaces": key.pk, "created_at": "x"}
    assert site.post(change_url(key), form() | forged).status_code == 302
    after = APIKey.objects.get(pk=key.pk)
    assert (after.hint, bytes(after.digest), after.revoked_at, after.replaces) == (
        key.hint,
        bytes(key.digest),
        None,
        None,
    )


def test_a_revoked_key_is_not_edited(site: Client, issue):
    key = issue().key
    keys.revoke(key.pk, Actor("test:x"))
    assert site.post(change_url(key), form(name="renamed")).status_code == 403
    assert APIKey.objects.get(pk=key.pk).name == "orders"


def test_a_key_cannot_be_deleted(site: Client, issue):
    key = issue().key
    assert site.post(f"{change_url(key)[:-7]}delete/", {"post": "yes"}).status_code == 403
    assert 'value="delete_selected"' not in site.get(LIST).text
    act(site, "delete_selected", key, post="yes")
    assert APIKey.objects.filter(pk=key.pk).exists()


def act(site: Client, action: str, *chosen: APIKey, **data):
    selected = [key.pk for key in chosen]
    return site.post(LIST, {"action": action, "_selected_action": selected} | data)


def test_keys_are_paused_and_activated_from_the_list(site: Client, issue):
    first, second, revoked = issue("a").key, issue("b").key, issue("c").key
    keys.revoke(revoked.pk, Actor("test:x"))
    response = site.get(act(site, "pause", first, second, revoked).url)
    assert {str(message) for message in response.context["messages"]} == {
        f"Key {revoked} is revoked, which is final.",
        "Paused: 2. Unchanged: 1.",
    }
    assert set(APIKey.objects.filter(is_active=False)) == {first, second}
    act(site, "activate", first)
    assert set(APIKey.objects.filter(is_active=False)) == {second}
    assert AuditEvent.objects.filter(actor="admin:alice", action="paused").count() == 2
    assert AuditEvent.objects.filter(actor="admin:alice", action="activated").count() == 1
    assert LogEntry.objects.count() == 3


def test_revoking_asks_first(site: Client, issue):
    chosen, other = issue("a").key, issue("b").key
    page = f"{LIST}revoke/?id={chosen.pk}"
    assert chosen.hint in site.get(page).text
    assert not APIKey.objects.filter(revoked_at__isnull=False).exists()
    assert site.post(page).status_code == 302
    assert site.post(page).status_code == 302
    assert set(APIKey.objects.filter(revoked_at__isnull=False)) == {chosen}
    assert AuditEvent.objects.filter(action="revoked").count() == LogEntry.objects.count() == 1
    assert other.pk


@pytest.mark.parametrize("query", ["", "?id=0", "?id=x", "?id=-1", "?id=99999999999999999999"])
def test_revoking_unknown_keys_is_not_found(site: Client, query):
    assert site.post(f"{LIST}revoke/{query}").status_code == 404


def test_rotating_shows_the_new_key_once(site: Client, issue):
    old = issue().key
    page = act(site, "rotate", old).url
    assert 'name="grace_minutes"' in site.get(page).text
    response = site.post(page, {"grace_minutes": "10"})
    assert "no-store" in response["Cache-Control"]
    (secret,) = KEY.findall(response.text)
    new = APIKey.objects.get(digest=credentials.digest(secret))
    assert new.replaces == old
    old.refresh_from_db()
    assert timedelta(minutes=9) < old.expires_at - timezone.now() <= timedelta(minutes=10)
    assert {entry.object_id for entry in LogEntry.objects.all()} == {str(old.pk), str(new.pk)}
    assert secret not in database_dump()

    again = site.post(page, {"grace_minutes": "10"}, follow=True)
    assert "rotated already" in again.text
    assert not KEY.search(again.text)
    assert APIKey.objects.count() == 2


@pytest.mark.parametrize(("grace", "text"), [("10", "works until"), ("0", "has ended")])
def test_the_page_of_the_new_key_says_what_becomes_of_the_old_one(site: Client, issue, grace, text):
    response = site.post(f"{LIST}{issue().key.pk}/rotate/", {"grace_minutes": grace})
    assert f"which {text}" in response.text


def test_what_cannot_be_rotated_is_refused_before_anything_is_asked(site: Client, issue):
    revoked, replaced = issue().key, issue().key
    expired = issue(expires_at=timezone.now() - timedelta(days=1)).key
    keys.revoke(revoked.pk, Actor("test:x"))
    keys.rotate(replaced.pk, timedelta(hours=1), Actor("test:x"))
    for key, reason in ((revoked, "is revoked"), (expired, "is expired"), (replaced, "rotated already")):
        response = site.get(f"{LIST}{key.pk}/rotate/", follow=True)
        assert response.redirect_chain == [(change_url(key), 302)]
        (message,) = response.context["messages"]
        assert reason in str(message)


@pytest.mark.parametrize("grace", ["", "-1", "x", "129601"])
def test_a_bad_grace_changes_nothing(site: Client, issue, grace):
    key = issue().key
    response = site.post(f"{LIST}{key.pk}/rotate/", {"grace_minutes": grace})
    assert list(response.context["form"].errors) == ["grace_minutes"]
    assert APIKey.objects.count() == 1


def test_keys_are_rotated_one_at_a_time(site: Client, issue):
    response = act(site, "rotate", issue("a").key, issue("b").key)
    assert "one key at a time" in site.get(response.url).text
    assert APIKey.objects.count() == 2


def test_the_list_is_filtered_and_searched(site: Client, issue):
    active = issue("alpha", owner_email="ann@example.com").key
    paused = issue("beta", "pro", is_active=False).key
    expired = issue("gamma", expires_at=timezone.now() - timedelta(days=1)).key
    revoked = issue("delta", is_active=False).key
    keys.revoke(revoked.pk, Actor("test:x"))

    def found(query: str) -> set[APIKey]:
        return set(site.get(f"{LIST}?{query}").context["cl"].result_list)

    assert found("status=active") == {active}
    assert found("status=paused") == {paused}
    assert found("status=expired") == {expired}
    assert found("status=revoked") == {revoked}
    assert found("is_active__exact=0") == {paused, revoked}
    assert found(f"tier__id__exact={paused.tier_id}") == {paused}
    assert re.findall(r">(Yes|No)</span>", site.get(LIST).text).count("Yes") == 1
    assert found("q=ALPH") == found("q=ann@") == found(f"q={active.hint}") == {active}


def test_the_list_takes_as_many_queries_for_many_keys_as_for_one(site: Client, issue):
    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            assert site.get(LIST).status_code == 200
        return len(captured)

    KeyActivity.objects.create(api_key=issue().key, last_used_at=timezone.now())
    one = queries()
    for number in range(20):
        key = issue(f"k{number}").key
        if number % 2:
            KeyActivity.objects.create(api_key=key, last_used_at=timezone.now())
    assert queries() == one <= 10


def test_a_whole_key_in_the_search_box_is_warned_of(site: Client, issue):
    issued = issue()
    response = site.get(LIST, {"q": issued.secret})
    assert "Find by pasted key" in response.text
    assert "browser" in str(next(iter(response.context["messages"])))


@pytest.mark.parametrize("field", ["name", "owner_email"])
def test_a_key_that_was_pasted_into_a_field_is_refused(site: Client, issue, field):
    issued = issue()
    value = issued.secret if field == "name" else f"{issued.secret}@example.com"
    fields = {"name": "x", "tier": issued.key.tier_id, "is_active": "on"} | {field: value}
    for url in (ADD, f"{LIST}{issued.key.pk}/change/"):
        page = site.post(url, fields)
        assert page.status_code == 200
        assert "This holds an API key" in str(page.context["adminform"].form.errors[field])
    assert APIKey.objects.count() == 1


@pytest.mark.parametrize("before", ["", "key-", "a.b-c."])
def test_a_key_is_taken_for_no_request_id(site: Client, issue, before):
    secret = issue().secret
    assert secret not in site.get(LIST, headers={"X-Request-ID": before + secret})["X-Request-ID"]


def limits(*added: dict[str, str], known: Sequence[KeyLimit] = ()) -> dict[str, str]:
    """What the form sends of a key's own limits."""
    sent = {"limits-TOTAL_FORMS": str(len(added)), "limits-INITIAL_FORMS": str(len(known))}
    for number, fields in enumerate(added):
        sent |= {f"limits-{number}-{name}": value for name, value in fields.items()}
    for number, limit in enumerate(known):
        sent |= {f"limits-{number}-id": str(limit.pk), f"limits-{number}-api_key": str(limit.api_key_id)}
    return sent


@pytest.fixture
def plan(db) -> Tier:
    tier = Tier.objects.get(name="free")
    TierLimit.objects.create(tier=tier, name="second", requests=10, window_seconds=1, burst=20)
    TierLimit.objects.create(tier=tier, name="monthly", requests=1000, period="month", is_shadow=True)
    TierLimit.objects.create(tier=tier, name="yearly", requests=10, window_seconds=31_536_000, burst=20)
    return tier


def test_a_keys_own_limits_are_changed_on_its_page_and_audited(site: Client, issue, plan):
    key = issue().key
    own = {"name": "second", "requests": "30", "burst": ""}
    assert site.post(change_url(key), form(burst="7") | limits(own)).status_code == 302
    [limit] = key.limits.all()
    assert (limit.requests, limit.burst) == (30, None)
    page = site.get(change_url(key)).text
    assert "second: 30 in 1 s, burst 20<br>monthly: 1,000 a month (shadow)" in page
    assert site.post(change_url(key), form(burst="7") | limits(own, known=[limit])).status_code == 302
    gone = limits(own | {"DELETE": "on"}, known=[limit])
    assert site.post(change_url(key), form(burst="7") | gone).status_code == 302
    events = AuditEvent.objects.filter(target_id=key.pk, action="updated").order_by("id")
    said = {"name": "second", "requests": 30}
    assert [event.detail["changed"] for event in events] == [
        {"burst": [None, 7], "limits": [[], [said]]},
        {"limits": [[said], []]},
    ]


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        (
            {"name": "minute"},
            "name",
            "The tier free has no limit of this name; it has second, monthly, yearly.",
        ),
        ({"name": "monthly", "burst": "5"}, "burst", "This limit is a quota, which has no burst."),
        ({"requests": "0"}, "requests", "greater than or equal to 1"),
        ({"requests": "2777778"}, "requests", "In 1 s there may be 2,777,777 at most."),
        ({"name": "yearly", "requests": "1", "burst": "11"}, "burst", "a burst of 11 takes over ten years"),
        ({"name": "yearly", "requests": "1"}, "requests", "a burst of 20 takes over ten years"),
    ],
)
def test_a_limit_that_stands_for_none_of_the_tiers_is_refused(site: Client, issue, plan, fields, field, said):
    key = issue().key
    response = site.post(change_url(key), form() | limits({"name": "second", "requests": "5"} | fields))
    [formset] = response.context["inline_admin_formsets"]
    [errors] = formset.formset.errors
    assert list(errors) == [field]
    assert said in errors[field][0]
    assert not key.limits.exists()


def test_limits_that_a_change_of_tier_left_behind_hinder_no_other_change(site: Client, issue, plan):
    key = issue().key
    limit = KeyLimit.objects.create(api_key=key, name="second", requests=5)
    unchanged = limits({"name": "second", "requests": "5"}, known=[limit])
    assert site.post(change_url(key), form(tier="pro") | unchanged).status_code == 302
    key.refresh_from_db()
    assert key.tier.name == "pro"

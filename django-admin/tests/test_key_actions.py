"""What is done with one key, on a page each: who may, what it changes, and what is written of it."""

import html
from datetime import UTC, datetime, timedelta

from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from api_manager import credentials, keys
from api_manager.audit import Actor
from api_manager.models import APIKey, AuditEvent, Tier

LIST = "/admin/api_manager/apikey/"
NO_LIMITS = {"limits-TOTAL_FORMS": "0", "limits-INITIAL_FORMS": "0"}
"""What the form of all sends of further limits where there are none."""
PAGES = ("expiry", "limits", "networks", "note", "edit", "revoke", "rotate")


def url(key: APIKey, page: str) -> str:
    return f"{LIST}{key.pk}/{page}/"


def changes() -> dict[str, list]:
    """What the only event of a change says."""
    return AuditEvent.objects.get(action="updated").detail["changed"]


def test_a_part_is_saved_audited_and_leads_back_to_the_key(site: Client, issue):
    key = issue(requests_per_hour=50).key
    pro = Tier.objects.get(name="pro")
    for page, data, expected in (
        (
            "limits",
            {"tier": pro.pk, "requests_per_hour": "", "burst": "70"},
            {"tier": ["free", "pro"], "requests_per_hour": [50, None], "burst": [None, 70]},
        ),
        (
            "networks",
            {"allowed_cidrs": "192.0.2.0/24\r\n2001:DB8::/32\r\n"},
            {"allowed_cidrs": [[], ["192.0.2.0/24", "2001:db8::/32"]]},
        ),
        ("networks", {"allowed_cidrs": ""}, {"allowed_cidrs": [["192.0.2.0/24", "2001:db8::/32"], []]}),
        ("note", {"note": "Ask first."}, {"note": ["", "Ask first."]}),
        ("note", {"note": ""}, {"note": ["Ask first.", ""]}),
    ):
        assert site.get(url(key, page)).status_code == 200
        response = site.post(url(key, page), data)
        assert (response.status_code, response.url) == (302, url(key, "change"))
        assert changes() == expected
        assert AuditEvent.objects.get(action="updated").actor == "admin:alice"
        AuditEvent.objects.filter(action="updated").delete()
    assert LogEntry.objects.filter(object_id=key.pk).count() == 5
    saved = APIKey.objects.get(pk=key.pk)
    assert (saved.tier, saved.requests_per_hour, saved.burst, saved.name) == (pro, None, 70, "orders")


def test_each_page_names_the_key(site: Client, issue):
    key = issue().key
    for page in set(PAGES) - {"edit"}:
        answer = site.get(url(key, page)).text
        assert key.name in answer, page
        assert key.hint in answer, page


def test_an_expiry_is_extended_set_and_taken_away(site: Client, issue):
    now = timezone.now()
    soon, past = now + timedelta(days=3), now - timedelta(days=3)
    day, date = timedelta(days=1), datetime(2099, 1, 31, 12, 30, tzinfo=UTC)
    for old, data, expected in (
        (soon, {"until": "30"}, soon + 30 * day),
        (soon, {"until": "90"}, soon + 90 * day),
        (None, {"until": "30"}, now + 30 * day),
        (past, {"until": "30"}, now + 30 * day),
        (soon, {"until": "never"}, None),
        (past, {"until": "date", "expires_at": "2099-01-31T12:30"}, date),
    ):
        key = issue(expires_at=old).key
        assert site.post(url(key, "expiry"), data).status_code == 302
        key.refresh_from_db()
        if expected is None:
            assert key.expires_at is None
        else:
            assert timedelta() <= key.expires_at - expected < timedelta(minutes=1)
        assert list(changes()) == ["expires_at"]
        AuditEvent.objects.filter(action="updated").delete()


REFUSED = [
    ("expiry", {}, "until", "required"),
    ("expiry", {"until": "31"}, "until", "valid choice"),
    ("expiry", {"until": "date"}, "expires_at", "Name the date"),
    ("expiry", {"until": "date", "expires_at": "2020-01-01T00:00"}, "expires_at", "has passed"),
    ("expiry", {"until": "date", "expires_at": "soon"}, "expires_at", "valid date"),
    ("expiry", {"until": "date", "expires_at": "9999-01-01T00:00"}, "__all__", "2000 to 8999"),
    ("expiry", {"until": "never", "expires_at": "2099-01-01T00:00"}, "expires_at", "Leave this empty"),
    ("limits", {"tier": "0"}, "tier", "valid choice"),
    ("limits", {"tier": "free", "burst": "0"}, "burst", "greater than or equal to 1"),
    ("limits", {"tier": "free", "burst": "87601", "requests_per_hour": "1"}, "burst", "over ten years"),
    ("networks", {"allowed_cidrs": "192.0.2.1/24"}, "allowed_cidrs", "did you mean 192.0.2.0/24?"),
    ("networks", {"allowed_cidrs": "here"}, "allowed_cidrs", "here: must be an IP address"),
    ("note", {"note": "x" * 2001}, "note", "at most 2000"),
    ("note", {"note": credentials.generate()}, "note", "holds an API key"),
    ("revoke", {"confirmation": "orders"}, "reason", "required"),
    ("revoke", {"reason": "It leaked."}, "confirmation", "required"),
    ("revoke", {"confirmation": "Orders", "reason": "x"}, "confirmation", "Nothing was revoked"),
    ("revoke", {"confirmation": "orders", "reason": "x" * 501}, "reason", "at most 500"),
    ("revoke", {"confirmation": "orders", "reason": credentials.generate()}, "reason", "an API key"),
]


def test_bad_input_is_refused_at_its_field_and_changes_nothing(site: Client, issue):
    key = issue(expires_at=timezone.now() + timedelta(days=3)).key
    before = APIKey.objects.filter(pk=key.pk).values().get()
    for page, data, field, message in REFUSED:
        sent = data | {"tier": key.tier_id} if data.get("tier") == "free" else data
        response = site.post(url(key, page), sent)
        case = (page, sent)
        assert response.status_code == 200, case
        errors = response.context["form"].errors
        assert list(errors) == [field], case
        assert message in str(errors[field]), case
        assert message in html.unescape(response.text), case
        assert key.name in response.text, case
        assert APIKey.objects.filter(pk=key.pk).values().get() == before, case
    assert LogEntry.objects.count() == 0
    assert AuditEvent.objects.count() == 1


def test_a_key_is_revoked_by_its_name_or_hint_and_a_reason(site: Client, issue):
    key, by_hint, other = (issue("orders").key for _ in range(3))
    assert site.post(url(by_hint, "revoke"), {"confirmation": by_hint.hint, "reason": "x"}).status_code == 302
    assert APIKey.objects.get(pk=by_hint.pk).status == "revoked"
    response = site.post(url(key, "revoke"), {"confirmation": " orders ", "reason": " It leaked. "})
    assert (response.status_code, response.url) == (302, url(key, "change"))
    assert f"{key} is revoked." in site.get(response.url).text
    key.refresh_from_db()
    assert (key.status, key.revoked_reason) == ("revoked", "It leaked.")
    assert AuditEvent.objects.get(action="revoked", target_id=key.pk).detail["reason"] == "It leaked."
    assert LogEntry.objects.filter(object_id=str(key.pk)).count() == 1
    assert APIKey.objects.get(pk=other.pk).status == "active"


def test_a_revoked_key_is_only_looked_at(site: Client, issue):
    key = issue().key
    keys.revoke(key.pk, Actor("test:x"), "It leaked.")
    for page in PAGES[:-1]:
        assert site.get(url(key, page)).status_code == 403, page
        assert site.post(url(key, page), {"confirmation": "orders", "reason": "x"}).status_code == 403, page
    assert site.get(url(key, "change")).status_code == 200


def test_only_who_may_change_keys_reaches_the_pages(db, issue):
    key = issue().key
    viewer = User.objects.create_user("vera", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_apikey"))
    client = Client()
    for page in PAGES:
        answer = client.get(url(key, page))
        assert (answer.status_code, answer.url[:13]) == (302, "/admin/login/")
    client.force_login(viewer)
    for page in PAGES:
        assert client.get(url(key, page)).status_code == 403, page
        assert client.post(url(key, page), {"note": "x"}).status_code == 403, page
    assert APIKey.objects.get().note == ""


def test_an_unknown_key_has_no_pages(site: Client):
    for page in PAGES[:-1]:
        assert site.get(f"{LIST}1/{page}/").status_code == 404, page


def test_every_page_changes_the_key_where_no_test_holds_a_transaction_open(committed, issue_key):
    """Around other tests is one, which hides a lock that is taken outside of any."""
    client = Client()
    client.force_login(User.objects.create_superuser("olga", "", "not-a-common-one-9"))
    key = issue_key().key
    sent = {
        "expiry": {"until": "30"},
        "limits": {"tier": key.tier_id, "burst": "7"},
        "networks": {"allowed_cidrs": "10.0.0.0/8"},
        "note": {"note": "seen"},
        "edit": {"name": "renamed", "tier": key.tier_id, "is_active": "on"} | NO_LIMITS,
        "rotate": {"grace_minutes": "5"},
        "revoke": {"confirmation": "renamed", "reason": "over"},
    }
    assert set(sent) == set(PAGES)
    answers = {page: client.post(url(key, page), fields).status_code for page, fields in sent.items()}
    assert answers == dict.fromkeys(PAGES, 302) | {"rotate": 200}
    key.refresh_from_db()
    assert (key.name, key.revoked_reason) == ("renamed", "over")


def test_edit_is_the_form_of_all_and_leads_back_to_the_key(site: Client, issue):
    key = issue(note="kept").key
    assert 'name="allowed_cidrs"' in site.get(url(key, "edit")).text
    data = {"name": "renamed", "tier": key.tier_id, "is_active": "on", "note": "kept"} | NO_LIMITS
    response = site.post(url(key, "edit"), data)
    assert (response.status_code, response.url) == (302, url(key, "change"))
    assert changes() == {"name": ["orders", "renamed"]}

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from api_manager.models import AuditEvent, Tier, TierLimit

LIST = "/admin/api_manager/tier/"


def form(**fields) -> dict[str, str]:
    shown = {"name": "gold", "requests_per_hour": "500", "burst": "", "fallback": "local", "description": ""}
    return shown | limits() | fields


def limits(*added: dict[str, str], known: Sequence[TierLimit] = ()) -> dict[str, str]:
    """What the form sends of limits; the first of them are ``known``."""
    sent = {"limits-TOTAL_FORMS": str(len(added)), "limits-INITIAL_FORMS": str(len(known))}
    for number, fields in enumerate(added):
        sent |= {f"limits-{number}-{name}": value for name, value in fields.items()}
    for number, limit in enumerate(known):
        sent |= {f"limits-{number}-id": str(limit.pk), f"limits-{number}-tier": str(limit.tier_id)}
    return sent


def test_a_tier_is_added_changed_and_deleted_in_both_histories(site: Client):
    assert site.post(f"{LIST}add/", form()).status_code == 302
    tier = Tier.objects.get(name="gold")
    assert site.post(f"{LIST}{tier.pk}/change/", form(requests_per_hour="600", burst="9")).status_code == 302
    tier.refresh_from_db()
    assert (tier.requests_per_hour, tier.burst) == (600, 9)
    assert site.post(f"{LIST}{tier.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not Tier.objects.filter(pk=tier.pk).exists()

    events = list(AuditEvent.objects.filter(target_type="tier", target_id=tier.pk).order_by("id"))
    assert [event.action for event in events] == ["created", "updated", "deleted"]
    assert events[1].detail == {"changed": {"requests_per_hour": [500, 600], "burst": [None, 9]}}
    assert {event.actor for event in events} == {"admin:alice"}
    assert LogEntry.objects.filter(object_id=str(tier.pk)).count() == 3


def test_prices_are_noted_in_the_audit_only_when_they_change(site: Client):
    site.post(f"{LIST}add/", form(price_per_month="49.90", included_requests="1000"))
    tier = Tier.objects.get(name="gold")
    page = f"{LIST}{tier.pk}/change/"
    for price in ("49.9", "49.9000", "5"):
        site.post(page, form(price_per_month=price, included_requests="1000"))
    tier.refresh_from_db()
    assert (tier.price_per_month, tier.price_per_thousand, tier.included_requests) == (5, 0, 1000)
    [event] = AuditEvent.objects.filter(action="updated")
    assert event.detail == {"changed": {"price_per_month": ["49.9", "5"]}}
    assert "5 EUR" in site.get(LIST).text


@pytest.mark.parametrize("path", ["delete/", None])
def test_a_tier_with_keys_stays(site: Client, issue, path):
    tier = issue().key.tier
    data = {"post": "yes", "action": "delete_selected", "_selected_action": [tier.pk]}
    response = site.post(f"{LIST}{tier.pk}/{path}" if path else LIST, data)
    assert "free has" in response.text
    assert "1 keys" in response.text
    assert Tier.objects.filter(pk=tier.pk).exists()
    assert not AuditEvent.objects.filter(action="deleted").exists()


def test_tiers_without_keys_are_deleted_from_the_list(site: Client):
    tier = Tier.objects.create(name="gold", requests_per_hour=1)
    data = {"post": "yes", "action": "delete_selected", "_selected_action": [tier.pk]}
    assert site.post(LIST, data).status_code == 302
    assert AuditEvent.objects.get(action="deleted").detail["name"] == "gold"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"requests_per_hour": "0"}, "requests_per_hour"),
        ({"requests_per_hour": ""}, "requests_per_hour"),
        ({"burst": "-1"}, "burst"),
        ({"burst": "87601", "requests_per_hour": "1"}, "burst"),
        ({"price_per_month": "-1"}, "price_per_month"),
        ({"price_per_month": "0.00001"}, "price_per_month"),
        ({"price_per_thousand": "1e9"}, "price_per_thousand"),
        ({"price_per_thousand": "NaN"}, "price_per_thousand"),
        ({"included_requests": "-1"}, "included_requests"),
        ({"name": "free"}, "name"),
        ({"name": "Gold!"}, "name"),
    ],
)
def test_bad_input_is_refused_at_its_field(site: Client, fields, field):
    response = site.post(f"{LIST}add/", form(**fields))
    assert list(response.context["adminform"].form.errors) == [field]
    assert AuditEvent.objects.count() == 0


def test_the_list_counts_keys_in_one_query(site: Client, issue):
    issue()
    issue()
    with CaptureQueriesContext(connection) as captured:
        page = site.get(LIST)
    assert {tier.name: tier.key_count for tier in page.context["cl"].result_list}["free"] == 2
    assert len(captured) <= 8


SECOND = {"name": "second", "requests": "10", "window_seconds": "1", "burst": "20"}
MONTHLY = {"name": "monthly", "requests": "100000", "period": "month"}
EXPORTS = {"name": "exports", "requests": "20", "window_seconds": "3600", "endpoint_prefix": "/export"}


def test_limits_are_saved_with_their_tier_and_the_audit_tells_which_changed(site: Client):
    assert site.post(f"{LIST}add/", form(**limits(SECOND, MONTHLY))).status_code == 302
    tier = Tier.objects.get(name="gold")
    second, monthly = tier.limits.all()
    assert (second.window_seconds, second.burst, second.period, second.endpoint_prefix) == (1, 20, None, None)
    assert (monthly.window_seconds, monthly.burst, monthly.period, monthly.is_shadow) == (
        None,
        None,
        "month",
        False,
    )
    changed = limits(
        SECOND | {"DELETE": "on"}, MONTHLY | {"is_shadow": "on"}, EXPORTS, known=(second, monthly)
    )
    assert site.post(f"{LIST}{tier.pk}/change/", form(**changed)).status_code == 302
    assert [limit.in_words() for limit in tier.limits.all()] == [
        "monthly: 100,000 a month (shadow)",
        "exports: 20 in 3,600 s, burst 20, for /export…",
    ]
    assert "monthly (shadow), exports" in site.get(LIST).text
    same = limits(MONTHLY | {"is_shadow": "on"}, EXPORTS, known=tuple(tier.limits.all()))
    assert site.post(f"{LIST}{tier.pk}/change/", form(**same)).status_code == 302
    site.post(f"{LIST}{tier.pk}/delete/", {"post": "yes"})

    created, updated, deleted = AuditEvent.objects.filter(target_type="tier").order_by("id")
    first = {"name": "second", "requests": 10, "window_seconds": 1, "burst": 20}
    quota = {"name": "monthly", "requests": 100_000, "period": "month"}
    exports = {"name": "exports", "requests": 20, "window_seconds": 3600, "endpoint_prefix": "/export"}
    assert created.detail["limits"] == [first, quota]
    assert updated.detail == {"changed": {"limits": [[first, quota], [quota | {"is_shadow": True}, exports]]}}
    assert deleted.detail["limits"] == [quota | {"is_shadow": True}, exports]
    assert "monthly" in site.get("/admin/api_manager/auditevent/").text


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"name": "default"}, "name", "choose another"),
        ({"name": "Ten a second"}, "name", "lower case"),
        ({"requests": "0"}, "requests", "greater than or equal to 1"),
        ({"burst": "0"}, "burst", "greater than or equal to 1"),
        ({"requests": "2777778"}, "requests", "2,777,777 at most"),
        ({"requests": "1", "window_seconds": "86400", "burst": "3651"}, "burst", "3,650 is the most"),
        ({"period": "day"}, "period", "either a window or a period"),
        ({"window_seconds": ""}, "window_seconds", "either a window or a period"),
        ({"window_seconds": "", "period": "day"}, "burst", "A quota has no burst"),
        ({"endpoint_prefix": "  "}, "endpoint_prefix", "leave it empty for all"),
        ({"endpoint_prefix": "\t/x"}, "endpoint_prefix", "control character"),
    ],
)
def test_a_limit_that_cannot_be_is_refused_at_its_field(site: Client, fields, field, said):
    response = site.post(f"{LIST}add/", form(**limits(SECOND | fields)))
    [formset] = response.context["inline_admin_formsets"]
    [errors] = formset.formset.errors
    assert list(errors) == [field]
    assert said in errors[field][0]
    assert AuditEvent.objects.count() == 0
    assert not Tier.objects.filter(name="gold").exists()


def test_two_limits_with_one_name_are_refused(site: Client):
    response = site.post(f"{LIST}add/", form(**limits(SECOND, SECOND)))
    assert "Two limits have the same name" in response.text
    assert not Tier.objects.filter(name="gold").exists()


def test_a_tier_has_eight_limits_at_most(site: Client):
    for number, said in ((9, "at most 8"), (8, "")):
        added = limits(*(SECOND | {"name": f"limit_{index}"} for index in range(number)))
        response = site.post(f"{LIST}add/", form(**added))
        assert said in response.text
    assert Tier.objects.get(name="gold").limits.count() == 8


def test_a_name_that_another_limit_has_is_refused_unless_it_is_free_when_it_is_saved(site: Client):
    """Also where the page does not know that one: it was sent twice, or is older than the other."""
    tier = Tier.objects.create(name="gold", requests_per_hour=500)
    page = f"{LIST}{tier.pk}/change/"
    for status, said in ((302, ""), (200, "There is another limit of this name")):
        response = site.post(page, form(**limits(SECOND)))
        assert response.status_code == status
        assert said in response.text
    assert site.post(page, form(**limits(SECOND, MONTHLY, known=tier.limits.all()))).status_code == 302
    known = tuple(tier.limits.all())
    for renamed in (
        (SECOND | {"name": "monthly"}, MONTHLY | {"name": "second"}),
        (SECOND | {"name": "monthly"}, MONTHLY | {"DELETE": "on"}),
    ):
        assert site.post(page, form(**limits(*renamed, known=known))).status_code == 200
    for sent in (
        (SECOND | {"DELETE": "on"}, MONTHLY, SECOND | {"burst": "30"}),
        (MONTHLY | {"name": "later"}, SECOND | {"burst": "40"}, MONTHLY),
    ):
        data = form(**limits(*sent, known=tuple(tier.limits.order_by("id"))))
        assert site.post(page, data).status_code == 302
    assert [(limit.name, limit.burst) for limit in tier.limits.order_by("id")] == [
        ("later", None),
        ("second", 40),
        ("monthly", None),
    ]


def test_of_operators_who_add_a_limit_of_one_name_at_once_one_does(committed):
    """The others are told that there is one; each waits for the others' edit before it looks."""
    tier = Tier.objects.create(name="raced", requests_per_hour=10)
    operator = User.objects.create_superuser("rachel", "", "not-a-common-one-9")
    start = Barrier(3)

    def add() -> tuple[int, bool]:
        client = Client()
        client.force_login(operator)
        start.wait()
        try:
            page = client.post(f"{LIST}{tier.pk}/change/", form(name="raced", **limits(SECOND)))
            return page.status_code, "There is another limit of this name" in page.text
        finally:
            connection.close()

    with ThreadPoolExecutor(3) as pool:
        answers = sorted(future.result() for future in [pool.submit(add) for _ in range(3)])
    assert answers == [(200, True), (200, True), (302, False)]
    assert tier.limits.count() == 1


@pytest.mark.parametrize(("permission", "may_change"), [("change_tier", True), ("view_tier", False)])
def test_who_may_change_a_tier_may_change_its_limits(client: Client, db, permission, may_change):
    clerk = User.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.add(*Permission.objects.filter(codename__in=[permission, "view_tier"]))
    client.force_login(clerk)
    tier = Tier.objects.get(name="free")
    TierLimit.objects.create(tier=tier, name="monthly", requests=5, period="month")
    page = client.get(f"{LIST}{tier.pk}/change/").text
    assert "monthly" in page
    assert ('name="limits-0-requests"' in page) is may_change

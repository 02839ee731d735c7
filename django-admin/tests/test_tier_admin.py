import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from api_manager.models import AuditEvent, Tier

LIST = "/admin/api_manager/tier/"


def form(**fields) -> dict[str, str]:
    shown = {"name": "gold", "requests_per_hour": "500", "burst": "", "fallback": "local", "description": ""}
    return shown | fields


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
    assert len(captured) <= 7

"""The pages of webhooks and of deliveries."""

import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from api_manager import webhooks
from api_manager.audit import Actor
from api_manager.models import AuditEvent, Delivery, Notice, Webhook
from api_manager.notices import signature

LIST = "/admin/api_manager/webhook/"
ADD = f"{LIST}add/"
LOG = "/admin/api_manager/delivery/"
SECRET = re.compile(r"whsec_[A-Za-z0-9+/]{43}=")


@pytest.fixture
def hook(db) -> Webhook:
    webhook = Webhook(name="billing", url="https://example.com/hooks", kinds=["key.quota"])
    return webhooks.create(webhook, Actor("test:fixture")).webhook


@pytest.fixture
def viewer(db) -> Client:
    user = User.objects.create_user("vera", is_staff=True)
    user.groups.add(Group.objects.get(name="Viewer"))
    client = Client()
    client.force_login(user)
    return client


def page_of(hook: Webhook) -> str:
    return reverse("admin:api_manager_webhook_change", args=[hook.pk])


def delivery_page(delivery: Delivery) -> str:
    return reverse("admin:api_manager_delivery_change", args=[delivery.pk])


def form(**fields):
    return {
        "name": "billing",
        "url": "https://example.com/hooks",
        "kinds": ["key.quota", "key.revoked"],
        "is_active": "on",
    } | fields


def test_a_new_webhook_shows_its_secret_once(site: Client, caplog):
    response = site.post(ADD, form())
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    (secret,) = SECRET.findall(response.text)
    webhook = Webhook.objects.get()
    assert secret == signature.secret(webhook, 1)
    assert (webhook.kinds, webhook.is_active) == (["key.quota", "key.revoked"], True)
    event = AuditEvent.objects.get()
    assert (event.actor, event.action, event.target_type) == ("admin:alice", "created", "webhook")
    assert event.detail["secret"] == "shown once"
    assert LogEntry.objects.get().is_addition()
    for url in (LIST, page_of(webhook), f"{page_of(webhook)[:-7]}history/", "/admin/api_manager/auditevent/"):
        page = site.get(url)
        assert page.status_code == 200
        assert not SECRET.findall(page.text)
    assert secret not in caplog.text


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"name": ""}, "name", "required"),
        ({"url": ""}, "url", "required"),
        ({"url": "example.com"}, "url", "Expected an address such as"),
        ({"url": "http://example.com/"}, "url", "Use https"),
        ({"url": "https://169.254.169.254/"}, "url", "not public"),
        ({"url": "https://ada@example.com/"}, "url", "Leave out user"),
        ({"url": f"https://example.com/rlk_live_{'a' * 49}"}, "url", "holds an API key"),
        ({"kinds": []}, "kinds", "at least one"),
        ({"kinds": ["ping"]}, "kinds", "valid choice"),
    ],
)
def test_bad_input_is_refused_at_its_field_and_changes_nothing(site: Client, fields, field, message):
    response = site.post(ADD, form(**fields))
    errors = response.context["adminform"].form.errors
    assert list(errors) == [field]
    assert message in str(errors[field])
    assert Webhook.objects.count() == AuditEvent.objects.count() == 0


def test_without_a_key_there_is_no_webhook_and_no_new_secret(site: Client, hook, settings):
    settings.WEBHOOK_SECRET_KEY = None
    assert "WEBHOOK_SECRET_KEY is not set" in site.post(ADD, form()).text
    assert "WEBHOOK_SECRET_KEY is not set" in site.get(f"{LIST}{hook.pk}/rotate/", follow=True).text
    assert Webhook.objects.get().secret_version == 1


def test_a_webhook_is_edited_and_deactivated_and_never_deleted(site: Client, hook):
    AuditEvent.objects.all().delete()
    sent = form(name="sales", kinds=["key.expiring"])
    del sent["is_active"]
    assert site.post(page_of(hook), sent).status_code == 302
    event = AuditEvent.objects.get()
    assert event.detail == {
        "changed": {
            "name": ["billing", "sales"],
            "kinds": [["key.quota"], ["key.expiring"]],
            "is_active": [True, False],
        }
    }
    assert site.post(f"{LIST}{hook.pk}/delete/", {"post": "yes"}).status_code == 403
    text = site.post(f"{LIST}{hook.pk}/ping/", follow=True).text
    assert "sales is not active" in text
    assert not Notice.objects.exists()


def test_a_new_secret_is_shown_once_and_the_old_one_goes_on_for_the_grace(site: Client, hook):
    page = f"{LIST}{hook.pk}/rotate/"
    assert "Until the grace ends" in site.get(page).text
    response = site.post(page, {"grace_minutes": "10"})
    assert "no-store" in response["Cache-Control"]
    (secret,) = SECRET.findall(response.text)
    hook.refresh_from_db()
    assert timedelta(minutes=9) < hook.previous_secret_until - timezone.now() <= timedelta(minutes=10)
    assert signature.secrets(hook, timezone.now()) == [secret, signature.secret(hook, 1)]
    event = AuditEvent.objects.order_by("pk").last()
    assert (event.action, event.detail["grace_seconds"]) == ("rotated", 600)
    assert site.post(page, {"grace_minutes": "-1"}).status_code == 200
    hook.refresh_from_db()
    assert hook.secret_version == 2


def test_a_ping_leads_to_its_delivery(site: Client, hook):
    page = f"{LIST}{hook.pk}/ping/"
    assert "https://example.com/hooks" in site.get(page).text
    assert not Delivery.objects.exists()
    response = site.post(page, follow=True)
    delivery = Delivery.objects.select_related("notice").get()
    assert response.redirect_chain == [(delivery_page(delivery), 302)]
    assert str(delivery.notice.uid) in response.text
    assert "on its way" in response.text


def test_the_log_is_filtered_and_shows_what_was_sent_and_what_came_back(site: Client, hook, issue):
    key = issue().key
    data = {"key": {"id": key.pk, "hint": key.hint}, "limit": "<monthly>"}
    quota = Notice.objects.create(kind="key.quota", api_key=key, dedupe_key="one", data=data)
    pinged = webhooks.ping(hook.pk)
    delivery = Delivery.objects.get(notice=quota)
    Delivery.objects.filter(pk=delivery.pk).update(
        status="dead",
        attempts=14,
        attempted_at=timezone.now(),
        status_code=500,
        duration_ms=1234,
        error="The answer was 500.",
        answer="<script>oh</script>",
    )
    for query, found in (
        ("", [pinged, delivery]),
        ("?status__exact=dead", [delivery]),
        (f"?webhook__id__exact={hook.pk}", [pinged, delivery]),
        ("?notice__kind__exact=ping", [pinged]),
        (f"?notice__api_key={key.pk}", [delivery]),
        ("?notice__api_key=x", []),
    ):
        assert list(site.get(f"{LOG}{query}").context["cl"].result_list) == found, query
    page = site.get(delivery_page(delivery)).text
    for text in (
        "&lt;monthly&gt;",
        "&lt;script&gt;oh",
        "1,234 ms",
        "The answer was 500.",
        "billing",
        key.hint,
    ):
        assert text in page, text
    assert "Retry" not in site.get(delivery_page(pinged)).text
    assert site.post(delivery_page(delivery), {"status": "delivered"}).status_code == 403

    retry = f"{LOG}{delivery.pk}/retry/"
    assert f'action="{retry}"' in page
    assert site.get(retry).status_code == 405
    assert "sent again soon" in site.post(retry, follow=True).text
    assert "Only what is dead" in site.post(retry, follow=True).text
    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempts) == ("pending", 0)
    assert site.post(f"{LOG}999999/retry/").status_code == 404


def test_a_viewer_looks_and_changes_nothing(viewer: Client, hook):
    delivery = webhooks.ping(hook.pk)
    Delivery.objects.update(status="dead")
    for url in (LIST, page_of(hook), LOG, delivery_page(delivery)):
        page = viewer.get(url)
        assert page.status_code == 200
        assert "Retry" not in page.text
        assert "Rotate secret" not in page.text
    for url in (ADD, page_of(hook), f"{LIST}{hook.pk}/rotate/", f"{LIST}{hook.pk}/ping/"):
        assert viewer.post(url, form(grace_minutes="1")).status_code == 403
    assert viewer.post(f"{LOG}{delivery.pk}/retry/").status_code == 403
    assert Delivery.objects.get().status == "dead"
    assert Client().get(LIST).status_code == 302

import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from api_manager import credentials, tokens
from api_manager.audit import Actor
from api_manager.models import AuditEvent, ManagementToken

LIST = "/admin/api_manager/managementtoken/"
ADD = f"{LIST}add/"
TOKEN = re.compile(r"rlm_[a-z]+_[0-9A-Za-z]{49}")


def page_of(token: ManagementToken) -> str:
    return reverse("admin:api_manager_managementtoken_change", args=[token.pk])


def form(**fields):
    return {"name": "ci", "scopes": ["keys:read"], "expires_at_0": "", "expires_at_1": ""} | fields


def act(site: Client, action: str, *chosen: ManagementToken):
    return site.post(LIST, {"action": action, "_selected_action": [token.pk for token in chosen]})


def test_a_new_token_is_shown_once_and_only_its_digest_is_kept(site: Client, caplog):
    response = site.post(ADD, form(scopes=["keys:read", "metrics:read"]))
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    (secret,) = TOKEN.findall(response.text)
    token = ManagementToken.objects.get()
    assert bytes(token.digest) == credentials.digest(secret)
    assert token.scopes == ["keys:read", "metrics:read"]
    assert all(secret not in str(session.get_decoded()) for session in Session.objects.all())
    assert secret not in caplog.text
    for url in (LIST, page_of(token), f"{page_of(token)[:-7]}history/", "/admin/"):
        page = site.get(url).text
        assert not TOKEN.findall(page)
        assert credentials.digest(secret).hex() not in page
    event = AuditEvent.objects.get()
    assert (event.actor, event.target_type, event.client_ip) == ("admin:alice", "token", "127.0.0.1")
    assert event.request_id == response["X-Request-ID"]
    assert LogEntry.objects.get().is_addition()


def test_every_scope_is_offered(site: Client):
    page = site.get(ADD).text
    assert re.findall(r'type="checkbox" name="scopes" value="([a-z:]+)"', page) == [
        "keys:read",
        "keys:write",
        "metrics:read",
    ]


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"name": ""}, "name", "required"),
        ({"name": "My token"}, "name", "Lower-case letters"),
        ({"name": "x" * 51}, "name", "at most 50"),
        ({"name": "token"}, "name", "environment"),
        ({"name": "taken"}, "name", "Another token has or had this name"),
        ({"scopes": []}, "scopes", "at least one"),
        ({"scopes": ["keys:all"]}, "scopes", "valid choice"),
        ({"expires_at_0": "2020-01-01", "expires_at_1": "00:00"}, "expires_at", "has passed"),
        ({"expires_at_0": "soon", "expires_at_1": "00:00"}, "expires_at", "valid date"),
    ],
)
def test_bad_input_is_refused_at_its_field_and_changes_nothing(
    site: Client, issue_token, fields, field, message
):
    issue_token("taken")
    response = site.post(ADD, form(**fields))
    assert response.status_code == 200
    errors = response.context["adminform"].form.errors
    assert list(errors) == [field]
    assert message in str(errors[field])
    assert ManagementToken.objects.count() == AuditEvent.objects.count() == 1


def test_a_token_is_only_looked_at_and_cannot_be_deleted(site: Client, issue_token):
    token = issue_token(scopes=["keys:read"]).token
    page = site.get(page_of(token)).text
    assert 'name="_save"' not in page
    for link in (
        f"{token.pk}/rotate/",
        f"revoke/?id={token.pk}",
        f"?target_type=token&amp;target_id={token.pk}",
    ):
        assert link in page
    assert site.post(page_of(token), form(scopes=["keys:write"])).status_code == 403
    assert site.post(f"{page_of(token)[:-7]}delete/", {"post": "yes"}).status_code == 403
    assert ManagementToken.objects.get().scopes == ["keys:read"]


def test_rotating_shows_the_new_token_once(site: Client, issue_token):
    old = issue_token(scopes=["metrics:read"]).token
    page = act(site, "rotate", old).url
    assert 'name="grace_minutes"' in site.get(page).text
    response = site.post(page, {"grace_minutes": "10"})
    assert "no-store" in response["Cache-Control"]
    assert "which works until" in response.text
    (secret,) = TOKEN.findall(response.text)
    new = ManagementToken.objects.get(digest=credentials.digest(secret))
    assert (new.replaces, new.scopes) == (old, ["metrics:read"])
    old.refresh_from_db()
    assert timedelta(minutes=9) < old.expires_at - timezone.now() <= timedelta(minutes=10)
    assert {entry.object_id for entry in LogEntry.objects.all()} == {str(old.pk), str(new.pk)}
    assert page_of(new) in site.get(page_of(old)).text
    assert page_of(old) in site.get(page_of(new)).text

    again = site.post(page, {"grace_minutes": "10"}, follow=True)
    assert "rotated already" in again.text
    assert not TOKEN.search(again.text)
    assert ManagementToken.objects.count() == 2


@pytest.mark.parametrize("grace", ["", "-1", "x", "129601"])
def test_a_bad_grace_changes_nothing(site: Client, issue_token, grace):
    token = issue_token().token
    response = site.post(f"{LIST}{token.pk}/rotate/", {"grace_minutes": grace})
    assert list(response.context["form"].errors) == ["grace_minutes"]
    assert ManagementToken.objects.count() == 1


def test_tokens_are_rotated_one_at_a_time(site: Client, issue_token):
    response = act(site, "rotate", issue_token("a").token, issue_token("b").token)
    assert "one token at a time" in site.get(response.url).text
    assert ManagementToken.objects.count() == 2


def test_revoking_asks_first(site: Client, issue_token):
    chosen, other = issue_token("a").token, issue_token("b").token
    page = act(site, "revoke", chosen).url
    assert chosen.hint in site.get(page).text
    assert not ManagementToken.objects.filter(revoked_at__isnull=False).exists()
    assert site.post(page).url == LIST
    assert site.post(page).status_code == 302
    assert set(ManagementToken.objects.filter(revoked_at__isnull=False)) == {chosen}
    assert AuditEvent.objects.filter(action="revoked").count() == LogEntry.objects.count() == 1
    assert "Rotate…" not in site.get(page_of(chosen)).text
    assert "Rotate…" in site.get(page_of(other)).text


def test_the_list_shows_what_each_is_good_for_and_when_it_was_used(site: Client, issue_token):
    tokens.revoke(issue_token("gone").token.pk, Actor("test:x"))
    issue_token("past", expires_at=timezone.now() - timedelta(days=1))
    used = issue_token("used").token
    ManagementToken.objects.filter(pk=used.pk).update(last_used_at="2026-11-22T06:28:45Z")
    page = site.get(LIST).text
    assert re.findall(r"status-(\w+)\"", page) == ["active", "expired", "revoked"]
    assert re.findall(r"field-last_used\b[^>]*>\s*([^<]+?)\s*<", page) == [
        "2026-11-22 06:28:45 UTC",
        "never",
        "never",
    ]


def test_the_audit_shows_the_way_to_a_token(site: Client, issue_token):
    token = issue_token(scopes=["keys:read", "keys:write"]).token
    page = site.get(f"/admin/api_manager/auditevent/?target_type=token&target_id={token.pk}").text
    assert f'<a href="{page_of(token)}">token {token.pk}</a>' in page
    assert "scopes: keys:read, keys:write" in page


def test_a_viewer_changes_nothing(db, issue_token):
    token = issue_token().token
    viewer = User.objects.create_user("vera", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_managementtoken"))
    client = Client()
    client.force_login(viewer)
    assert client.get(LIST).status_code == 200
    page = client.get(page_of(token))
    assert page.status_code == 200
    assert "Rotate…" not in page.text
    for url in (ADD, page_of(token), f"{LIST}{token.pk}/rotate/", f"{LIST}revoke/?id={token.pk}"):
        assert client.post(url, form(grace_minutes="1")).status_code == 403
    assert ManagementToken.objects.get().status == "active"


def test_every_page_asks_for_a_login_and_every_form_for_a_token(operator: User):
    forgery = Client(enforce_csrf_checks=True)
    forgery.force_login(operator)
    for url in (LIST, ADD, f"{LIST}revoke/?id=1", f"{LIST}1/rotate/"):
        response = Client().get(url)
        assert response.status_code == 302
        assert response.url.startswith("/admin/login/")
        assert forgery.post(url, {}).status_code == 403

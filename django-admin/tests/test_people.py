"""Users and groups in the admin site: what is done to them is in the audit, and never a password."""

from io import StringIO

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core.management import CommandError, call_command
from django.test import Client
from django_otp.plugins.otp_totp.models import TOTPDevice

from api_manager.models import AuditEvent

PASSWORD = "not-a-common-one-9"
OTHER = "another-rare-one-8"
USERS = "/admin/auth/user/"
GROUPS = "/admin/auth/group/"


@pytest.fixture(autouse=True)
def quick_hashes(settings):
    """What a hash costs is not what these tests are about."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def bob(quick_hashes, db) -> User:
    return User.objects.create_user("bob", "bob@example.com", PASSWORD, is_staff=True)


def told() -> list[tuple]:
    events = AuditEvent.objects.order_by("id")
    return [(e.actor, e.action, e.target_type, e.target_id, e.detail) for e in events]


def test_a_new_user_is_told_of(site: Client):
    fields = {"username": "carol", "usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}
    assert site.post(f"{USERS}add/", fields).status_code == 302
    carol = User.objects.get(username="carol")
    assert told() == [("admin:alice", "created", "user", carol.pk, {"name": "carol"})]


def test_an_edit_of_a_user_tells_what_changed(site: Client, bob):
    viewer = Group.objects.get(name="Viewer")
    fields = {"username": "bob", "email": "new@example.com", "is_active": "on", "groups": [viewer.pk]}
    fields |= {
        "last_login_0": "",
        "last_login_1": "",
        "date_joined_0": "2026-01-02",
        "date_joined_1": "03:04:05",
    }
    assert site.post(f"{USERS}{bob.pk}/change/", fields).status_code == 302
    [(actor, action, kind, target, detail)] = told()
    assert (actor, action, kind, target) == ("admin:alice", "updated", "user", bob.pk)
    detail["changed"].pop("date_joined")
    assert detail == {
        "name": "bob",
        "changed": {
            "email": ["bob@example.com", "new@example.com"],
            "is_staff": [True, False],
            "groups": [[], ["Viewer"]],
        },
    }
    page = site.get("/admin/api_manager/auditevent/").text
    assert "is_staff: True → False" in page
    assert f'<a href="{USERS}{bob.pk}/change/">user {bob.pk}</a>' in page


def test_groups_and_what_they_may_are_told_of(site: Client):
    look = Permission.objects.get(codename="view_tier")
    assert site.post(f"{GROUPS}add/", {"name": "Support"}).status_code == 302
    group = Group.objects.get(name="Support")
    site.post(f"{GROUPS}{group.pk}/change/", {"name": "Support", "permissions": [look.pk]})
    site.post(f"{GROUPS}{group.pk}/delete/", {"post": "yes"})
    assert told() == [
        ("admin:alice", "created", "group", group.pk, {"name": "Support"}),
        (
            "admin:alice",
            "updated",
            "group",
            group.pk,
            {"name": "Support", "changed": {"permissions": [[], [str(look)]]}},
        ),
        ("admin:alice", "deleted", "group", group.pk, {"name": "Support"}),
    ]


def test_deleting_several_is_told_of_one_by_one(site: Client, bob):
    carol = User.objects.create(username="carol")
    chosen = {"action": "delete_selected", "_selected_action": [bob.pk, carol.pk], "post": "yes"}
    site.post(USERS, chosen)
    assert {row[1:4] for row in told()} == {("deleted", "user", bob.pk), ("deleted", "user", carol.pk)}


def test_another_password_ends_every_session_of_its_user(site: Client, bob):
    theirs = Client()
    theirs.force_login(bob)
    AuditEvent.objects.all().delete()
    page = f"{USERS}{bob.pk}/password/"
    refused = {"usable_password": "true", "password1": "short-one-9", "password2": "short-one-9"}
    assert "at least 12 characters" in site.post(page, refused).text
    assert told() == []
    site.post(page, {"usable_password": "true", "password1": OTHER, "password2": OTHER})
    assert told() == [("admin:alice", "password_changed", "user", bob.pk, {"name": "bob"})]
    assert theirs.get("/admin/").url.startswith("/admin/login/")


def test_ones_own_password_ends_every_other_session(bob):
    here, there = Client(), Client()
    for client in (here, there):
        client.force_login(bob)
    AuditEvent.objects.all().delete()
    fields = {"old_password": "wrong", "new_password1": OTHER, "new_password2": OTHER}
    assert here.post("/admin/password_change/", fields).status_code == 200
    assert told() == []
    answer = here.post("/admin/password_change/", fields | {"old_password": PASSWORD}, follow=True)
    assert "Your password was changed" in answer.text
    assert told() == [("admin:bob", "password_changed", "user", bob.pk, {"name": "bob"})]
    assert here.get("/admin/").status_code == 200
    assert there.get("/admin/").url.startswith("/admin/login/")


def test_logging_in_and_out_is_told_of(bob):
    client = Client()
    answer = client.post(
        "/admin/login/", {"username": "bob", "password": PASSWORD}, REMOTE_ADDR="198.51.100.7"
    )
    assert answer.status_code == 302
    client.post("/admin/logout/")
    assert told() == [
        ("admin:bob", "logged_in", "user", bob.pk, {"second_factor": "none"}),
        ("admin:bob", "logged_out", "user", bob.pk, {}),
    ]
    assert AuditEvent.objects.order_by("id")[0].client_ip == "198.51.100.7"


def test_a_command_removes_a_second_factor(bob):
    TOTPDevice.objects.create(user=bob, name="Authenticator app")
    for said in ("is removed", "has no second factor"):
        call_command("remove_second_factor", "bob", stderr=(err := StringIO()))
        assert said in err.getvalue()
    assert told() == [("command:remove_second_factor", "unenrolled", "user", bob.pk, {})]
    with pytest.raises(CommandError, match="no user 'nobody'"):
        call_command("remove_second_factor", "nobody")

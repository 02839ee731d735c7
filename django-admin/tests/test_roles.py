"""What Viewer, Operator and Owner may do, at the public door; and that their groups are kept."""

from collections.abc import Callable
from io import StringIO

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from api_manager.models import APIKey, ManagementToken, RequestLog, Tier, TierRule, Webhook
from api_manager.roles import ROLES

MANAGER = "/admin/api_manager"
ALL = {"Viewer", "Operator", "Owner"}
WRITERS = {"Operator", "Owner"}
OWNER = {"Owner"}
NOBODY: set[str] = set()

# Each page and action, and who may. What may be done comes through as a page or a redirect, else it is 403.
LOOKS = {
    "/admin/": ALL,
    f"{MANAGER}/apikey/": ALL,
    f"{MANAGER}/apikey/{{key}}/change/": ALL,
    f"{MANAGER}/apikey/{{key}}/history/": ALL,
    f"{MANAGER}/apikey/find/": ALL,
    f"{MANAGER}/apikey/add/": WRITERS,
    f"{MANAGER}/apikey/{{key}}/rotate/": WRITERS,
    f"{MANAGER}/apikey/revoke/?id={{key}}": WRITERS,
    f"{MANAGER}/apikey/{{key}}/delete/": NOBODY,
    f"{MANAGER}/tier/": ALL,
    f"{MANAGER}/tier/{{tier}}/change/": ALL,
    f"{MANAGER}/tier/add/": WRITERS,
    f"{MANAGER}/tier/{{tier}}/delete/": WRITERS,
    f"{MANAGER}/tierrule/": ALL,
    f"{MANAGER}/tierrule/{{rule}}/change/": ALL,
    f"{MANAGER}/tierrule/{{rule}}/preview/": ALL,
    f"{MANAGER}/tierrule/add/": WRITERS,
    f"{MANAGER}/tierrule/{{rule}}/delete/": WRITERS,
    f"{MANAGER}/tiersuggestion/": ALL,
    f"{MANAGER}/tiersuggestion/add/": NOBODY,
    f"{MANAGER}/requestlog/": ALL,
    f"{MANAGER}/requestlog/{{request}}/change/": ALL,
    f"{MANAGER}/requestlog/add/": NOBODY,
    f"{MANAGER}/usagehourly/": ALL,
    f"{MANAGER}/statement/": ALL,
    f"{MANAGER}/statement/csv/": ALL,
    f"{MANAGER}/auditevent/": ALL,
    f"{MANAGER}/auditevent/add/": NOBODY,
    f"{MANAGER}/managementtoken/": ALL,
    f"{MANAGER}/managementtoken/{{token}}/change/": ALL,
    f"{MANAGER}/managementtoken/add/": OWNER,
    f"{MANAGER}/managementtoken/{{token}}/rotate/": OWNER,
    f"{MANAGER}/managementtoken/revoke/?id={{token}}": OWNER,
    f"{MANAGER}/webhook/": ALL,
    f"{MANAGER}/webhook/{{webhook}}/change/": ALL,
    f"{MANAGER}/webhook/add/": WRITERS,
    f"{MANAGER}/webhook/{{webhook}}/ping/": WRITERS,
    f"{MANAGER}/webhook/{{webhook}}/delete/": NOBODY,
    f"{MANAGER}/delivery/": ALL,
    f"{MANAGER}/delivery/add/": NOBODY,
    "/admin/auth/user/": ALL,
    "/admin/auth/user/{user}/change/": ALL,
    "/admin/auth/user/add/": OWNER,
    "/admin/auth/user/{user}/password/": OWNER,
    "/admin/auth/user/{user}/second-factor/": OWNER,
    "/admin/auth/user/{user}/delete/": OWNER,
    "/admin/auth/group/": ALL,
    "/admin/auth/group/{group}/change/": ALL,
    "/admin/auth/group/add/": OWNER,
    "/admin/auth/group/{group}/delete/": OWNER,
    "/admin/auth/group/{role}/delete/": NOBODY,
    "/admin/password_change/": ALL,
    "/admin/second-factor/": ALL,
}
KEY = {"name": "new", "tier": "{tier}", "expires_at_0": "", "expires_at_1": ""}
TIER = {"name": "new", "requests_per_hour": "5", "fallback": "local", "description": ""}
DEEDS = {
    "issue a key": (f"{MANAGER}/apikey/add/", KEY, WRITERS),
    "edit a key": (f"{MANAGER}/apikey/{{key}}/change/", KEY | {"is_active": "on"}, WRITERS),
    "rotate a key": (f"{MANAGER}/apikey/{{key}}/rotate/", {"grace_minutes": "1"}, WRITERS),
    "revoke a key": (f"{MANAGER}/apikey/revoke/?id={{key}}", {}, WRITERS),
    "add a tier": (f"{MANAGER}/tier/add/", TIER, WRITERS),
    "edit a tier": (f"{MANAGER}/tier/{{tier}}/change/", TIER, WRITERS),
    "issue a token": (f"{MANAGER}/managementtoken/add/", {"name": "x", "scopes": ["keys:read"]}, OWNER),
    "revoke a token": (f"{MANAGER}/managementtoken/revoke/?id={{token}}", {}, OWNER),
    "ping a webhook": (f"{MANAGER}/webhook/{{webhook}}/ping/", {}, WRITERS),
    "delete a user": ("/admin/auth/user/{user}/delete/", {"post": "yes"}, OWNER),
    "make oneself an owner": (
        "/admin/auth/user/{self}/change/",
        {"username": "x", "is_superuser": "on"},
        OWNER,
    ),
    "add a group": ("/admin/auth/group/add/", {"name": "x"}, OWNER),
    "change a role": ("/admin/auth/group/{role}/change/", {"name": "x"}, NOBODY),
    "remove a second factor": ("/admin/auth/user/{user}/second-factor/", {}, OWNER),
}
ACTIONS = {
    ("apikey", "pause", "{key}"): WRITERS,
    ("apikey", "activate", "{key}"): WRITERS,
    ("apikey", "revoke", "{key}"): WRITERS,
    ("managementtoken", "revoke", "{token}"): OWNER,
    ("user", "unlock", "{user}"): OWNER,
    ("user", "delete_selected", "{user}"): OWNER,
}


@pytest.fixture
def ids(db, issue, issue_token) -> dict[str, int]:
    key = issue().key
    row = RequestLog.objects.create(
        api_key=key, endpoint="/a", status_code=200, cost=1, remaining=1, timestamp=timezone.now()
    )
    return {
        "key": key.pk,
        "token": issue_token().token.pk,
        "tier": Tier.objects.create(name="spare", requests_per_hour=5).pk,
        "rule": TierRule.objects.create(name="idle", condition="idle", action="notify").pk,
        "request": row.pk,
        "webhook": Webhook.objects.create(name="a", url="https://example.com/", kinds=["key.quota"]).pk,
        "user": User.objects.create(username="someone", is_staff=True).pk,
        "group": Group.objects.create(name="Support").pk,
        "role": Group.objects.get(name="Viewer").pk,
    }


@pytest.fixture
def member(db) -> Callable[[str], Client]:
    def member(role: str) -> Client:
        user = User.objects.create(username=role.lower(), is_staff=True)
        user.groups.add(Group.objects.get(name=role))
        client = Client()
        client.force_login(user)
        return client

    return member


@pytest.mark.parametrize("role", ROLES)
def test_a_role_sees_its_pages_and_no_other(member, ids, role):
    client = member(role)
    seen = {page: client.get(page.format(**ids)).status_code for page in LOOKS}
    assert seen == {page: 200 if role in allowed else 403 for page, allowed in LOOKS.items()}


@pytest.mark.parametrize("deed", DEEDS)
def test_a_role_does_what_it_may(member, ids, deed):
    page, fields, allowed = DEEDS[deed]
    for role in ROLES:  # who may do more comes later, and finds what the others could not change
        client = member(role)
        named = ids | {"self": User.objects.get(username=role.lower()).pk}
        sent = {
            name: text.format(**named) if isinstance(text, str) else text for name, text in fields.items()
        }
        status = client.post(page.format(**named), sent).status_code
        assert (status in {200, 302}) == (role in allowed), (role, status)
        assert status in {200, 302, 403}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_offered_the_actions_it_may_run(member, ids, role):
    client = member(role)
    for (model, action, row), allowed in ACTIONS.items():
        app = "auth" if model == "user" else "api_manager"
        page = client.get(f"/admin/{app}/{model}/")
        form = page.context["action_form"]
        offered = {name for name, _ in form.fields["action"].choices} if form else set()
        assert (action in offered) == (role in allowed), (role, action)
        if role not in allowed:
            client.post(f"/admin/{app}/{model}/", {"action": action, "_selected_action": [row.format(**ids)]})
    if role == "Viewer":
        assert APIKey.objects.get().status == ManagementToken.objects.get().status == "active"
        assert User.objects.filter(username="someone").exists()


@pytest.mark.parametrize("role", ROLES)
def test_nobody_sees_a_hash_of_a_password(member, ids, role):
    user = User.objects.get(pk=ids["user"])
    user.set_password("not-a-common-one-9")
    user.save()
    page = member(role).get(f"/admin/auth/user/{user.pk}/change/").text
    assert user.password not in page
    assert user.password.rpartition("$")[2] not in page


def test_every_permission_of_a_role_exists_and_its_group_has_no_other(db):
    found = {
        group.name: {f"{row.content_type.app_label}.{row.codename}" for row in group.permissions.all()}
        for group in Group.objects.all()
    }
    assert found == {name: set(permissions) for name, permissions in ROLES.items()}


def test_a_migration_brings_the_roles_back_and_leaves_other_groups_alone(db, caplog):
    viewer, support = Group.objects.get(name="Viewer"), Group.objects.create(name="Support")
    member = User.objects.create(username="victor")
    member.groups.add(viewer)
    every = Permission.objects.all()
    viewer.permissions.set(every[:3])
    support.permissions.set(every[:3])
    Group.objects.filter(name="Owner").delete()
    for _ in range(2):
        call_command("migrate", verbosity=0, stdout=StringIO())
        assert set(support.permissions.all()) == set(every[:3])
        assert viewer.permissions.count() == len(ROLES["Viewer"])
        assert Group.objects.get(name="Owner").permissions.count() == len(ROLES["Owner"])
    assert list(member.groups.all()) == [viewer]
    assert "permissions_missing" not in caplog.text


def test_a_role_is_not_among_groups_that_are_deleted(site: Client):
    viewer, support = Group.objects.get(name="Viewer"), Group.objects.create(name="Support")
    chosen = {"action": "delete_selected", "_selected_action": [viewer.pk, support.pk], "post": "yes"}
    site.post("/admin/auth/group/", chosen)
    assert set(Group.objects.values_list("name", flat=True)) == {*ROLES, "Support"}
    chosen["_selected_action"] = [support.pk]
    site.post("/admin/auth/group/", chosen)
    assert set(Group.objects.values_list("name", flat=True)) == set(ROLES)

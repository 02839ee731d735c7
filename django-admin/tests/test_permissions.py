"""Who may see and do what; keys stand for the rest, which are read-only or Django's own."""

from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from api_manager.models import APIKey

LIST = "/admin/api_manager/apikey/"
ADD = f"{LIST}add/"


def test_a_viewer_changes_nothing(db, issue):
    key = issue().key
    page = reverse("admin:api_manager_apikey_change", args=[key.pk])
    viewer = User.objects.create_user("vera", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_apikey"))
    client = Client()
    client.force_login(viewer)
    assert client.get(LIST).status_code == client.get(page).status_code == 200
    assert client.get(f"{LIST}find/").status_code == 200
    for url in (ADD, page, f"{LIST}{key.pk}/rotate/", f"{LIST}revoke/?id={key.pk}"):
        assert client.post(url, {"name": "x", "grace_minutes": "1"}).status_code == 403
    client.post(LIST, {"action": "pause", "_selected_action": [key.pk]})
    assert APIKey.objects.get().status == "active"


def test_every_page_asks_for_a_login(db):
    for url in (LIST, ADD, f"{LIST}find/", f"{LIST}revoke/?id=1", f"{LIST}1/rotate/"):
        response = Client().get(url)
        assert response.status_code == 302
        assert response.url.startswith("/admin/login/")


def test_forms_need_a_token(operator: User):
    client = Client(enforce_csrf_checks=True)
    client.force_login(operator)
    for url in (ADD, f"{LIST}find/", f"{LIST}revoke/?id=1", f"{LIST}1/rotate/"):
        assert client.post(url, {}).status_code == 403

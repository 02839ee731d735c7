import logging

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse

from api_manager import credentials
from api_manager.models import APIKey, ForeignFormat

FIND = "/admin/api_manager/apikey/find/"


def test_the_list_leads_to_it(site: Client):
    assert FIND in site.get("/admin/api_manager/apikey/").text


def test_a_pasted_key_leads_to_its_page(site: Client, issue, caplog):
    caplog.set_level(logging.DEBUG)
    issued = issue()
    response = site.post(FIND, {"key": f"  {issued.secret}\n"})
    assert response.status_code == 302
    assert response.url == reverse("admin:api_manager_apikey_change", args=[issued.key.pk])
    assert issued.secret not in caplog.text
    assert all(issued.secret not in str(session.get_decoded()) for session in Session.objects.all())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _key: "hello",
        lambda _key: "rlk_live_",
        lambda _key: "ключ",
        lambda _key: "x" * 201,
        lambda key: key[:-1],
        lambda key: key + "1",
        lambda key: key.swapcase(),
        lambda key: key.replace("live", "test"),
    ],
)
def test_what_is_no_key_is_called_malformed(site: Client, issue, spoil):
    text = spoil(issue().secret)
    response = site.post(FIND, {"key": text})
    assert response.status_code == 200
    assert list(response.context["form"].errors) == ["key"]
    assert text not in response.text


def test_a_strangers_key_is_called_unknown_and_not_echoed(site: Client):
    secret = credentials.generate()
    response = site.post(FIND, {"key": secret})
    assert response.status_code == 200
    assert response.context["form"].errors.as_data()["key"][0].code == "unknown"
    assert secret not in response.text


def test_nothing_pasted_is_an_error_too(site: Client):
    assert "required" in site.post(FIND, {"key": ""}).text


def test_a_key_in_the_address_is_not_looked_up(site: Client, issue):
    response = site.get(FIND, {"key": issue().secret})
    assert response.status_code == 200


def test_an_imported_key_is_found_and_a_wrong_format_of_it_said(site: Client, issue):
    foreign = "sk_live_" + "0" * 24
    key = APIKey.objects.create(
        name="foreign", hint="sk_live_…", digest=credentials.digest(foreign), tier=issue().key.tier
    )
    response = site.post(FIND, {"key": foreign})
    assert response.url == reverse("admin:api_manager_apikey_change", args=[key.pk])
    [message] = site.get(response.url).context["messages"]
    assert "no import has stated a format that it has" in str(message)
    ForeignFormat.objects.create(prefix="sk_live_", min_length=32, max_length=32, alphabet="base62")
    response = site.post(FIND, {"key": foreign})
    assert not list(site.get(response.url).context["messages"])
    assert "never issued by this installation" in site.post(FIND, {"key": "sk_live_" + "1" * 24}).text
    searched = site.get("/admin/api_manager/apikey/", {"q": foreign})
    assert "That is a whole key" in searched.text

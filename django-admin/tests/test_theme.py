"""The theme and what surrounds it: navigation, empty lists, errors, static files, policy of CSP."""

import re
from pathlib import Path

import pytest
from django.conf import settings as configured
from django.contrib.auth.models import Permission, User
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.management import call_command
from django.test import Client

from api_manager.models import Tier

NGINX = Path(__file__).resolve().parents[2] / "nginx"
LISTS = {
    "api_manager.apikey": "Keys",
    "api_manager.tier": "Tiers",
    "api_manager.tierrule": "Tier rules",
    "api_manager.tiersuggestion": "Suggestions",
    "api_manager.requestlog": "Requests",
    "api_manager.usagehourly": "Usage",
    "api_manager.statement": "Statements",
    "api_manager.auditevent": "Audit",
    "api_manager.managementtoken": "Tokens",
    "api_manager.webhook": "Webhooks",
    "api_manager.delivery": "Deliveries",
    "auth.user": "Users",
    "auth.group": "Groups",
}


def url(model: str) -> str:
    return f"/admin/{model.replace('.', '/')}/"


def navigation(page) -> list[str]:
    shown = [item for group in page.context["sidebar_navigation"] for item in group["items"]]
    return [item["title"] for item in shown if item["has_permission"]]


def viewer(*models: str) -> Client:
    """Somebody who may look at these lists, and no more."""
    user = User.objects.create_user("victor", password="not-a-common-one-9", is_staff=True)
    for model in models:
        app_label, name = model.split(".")
        user.user_permissions.add(
            Permission.objects.get(content_type__app_label=app_label, codename=f"view_{name}")
        )
    client = Client()
    client.force_login(user)
    return client


def test_the_navigation_leads_to_every_list(site: Client):
    page = site.get("/admin/")
    assert navigation(page) == ["Overview", *LISTS.values()]
    for model, title in LISTS.items():
        assert f'href="{url(model)}"' in page.text
        active = [
            item for group in site.get(url(model)).context["sidebar_navigation"] for item in group["items"]
        ]
        assert [item["title"] for item in active if item["active"]] == [title]


@pytest.mark.parametrize("model", LISTS)
def test_the_navigation_shows_what_one_may_see(db, model):
    client = viewer(model)
    assert navigation(client.get("/admin/")) == ["Overview", LISTS[model]]


@pytest.mark.parametrize(
    "model",
    [
        model
        for model in LISTS
        if model not in {"api_manager.tier", "api_manager.statement", "auth.user", "auth.group"}
    ],
)
def test_an_empty_list_says_what_to_do_next(site: Client, model):
    page = site.get(url(model))
    assert page.context["cl"].model_admin.empty_hint in page.text


def test_a_search_that_finds_nothing_leads_back(site: Client, issue):
    issue("a")
    page = site.get(f"{url('api_manager.apikey')}?q=nothing").text
    assert "Nothing matches" in page
    assert 'href="?"' in page


@pytest.mark.parametrize(("name", "kind"), [("live", "success"), ("staging", "warning")])
def test_each_page_says_in_which_environment_it_is(site: Client, settings, name, kind):
    settings.KEY_ENVIRONMENT = name
    assert site.get("/admin/").context["environment"] == [name, kind]


def test_error_pages_have_the_same_look(site: Client):
    assert "There is no such page" in site.get("/lost").text
    assert "You may not do this" in site.get("/admin/api_manager/requestlog/add/").text
    forgery = Client(enforce_csrf_checks=True)
    answer = forgery.post("/admin/login/", {})
    assert answer.status_code == 403
    assert "This form is out of date" in answer.text
    assert "not as this site expects" in Client().get("/", headers={"Host": "elsewhere"}).text


def test_a_failure_has_the_same_look(db, monkeypatch):
    monkeypatch.setattr("config.health.ping", lambda _: 1 / 0)
    answer = Client(raise_request_exception=False).get("/health")
    assert answer.status_code == 500
    assert "Something went wrong" in answer.text


@pytest.mark.parametrize("path", ["/admin/login/", "/lost", "/health", "/static/api_manager/admin.css"])
def test_every_answer_says_what_may_be_loaded(db, path):
    answer = Client().get(path)
    policy = dict(part.split(" ", 1) for part in answer["Content-Security-Policy"].split("; "))
    answer.close()
    assert policy == {
        "default-src": "'self'",
        "script-src": "'self' 'unsafe-eval'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "object-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }


def test_no_page_has_a_script_or_a_style_of_its_own(site: Client, issue):
    key = issue().key
    for path in ("/admin/", *map(url, LISTS), f"{url('api_manager.apikey')}{key.pk}/change/", "/lost"):
        text = site.get(path).text
        assert not re.findall(r"<style|<script(?![^>]*\bsrc=)|<[^>]*\sstyle=|<[^>]*\son[a-z]+=", text), path


def test_nginx_leaves_the_policy_as_it_is():
    assert not [
        file for file in NGINX.glob("*.conf") if "content-security-policy" in file.read_text().lower()
    ]


def test_collected_files_are_all_found_under_their_hashes(site: Client, settings, tmp_path, issue):
    key = issue().key
    settings.STATIC_ROOT = tmp_path
    settings.STORAGES = configured.STORAGES | {
        "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"}
    }
    call_command("collectstatic", interactive=False, verbosity=0)
    pages = ["/admin/", url("api_manager.apikey"), f"{url('api_manager.apikey')}{key.pk}/change/"]
    tier = Tier.objects.get(name="free")
    pages += [f"{url('api_manager.tier')}{tier.pk}/delete/", url("api_manager.requestlog"), "/lost"]
    named = {
        name for page in pages for name in re.findall(r'(?:src|href)="/static/([^"]+)"', site.get(page).text)
    }
    assert len(named) > 10
    for name in named:
        assert re.search(r"\.[0-9a-f]{12}\.", name), name
        assert staticfiles_storage.exists(name), name

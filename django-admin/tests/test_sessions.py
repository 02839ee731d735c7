"""A session's cookie is good for its holder, and stands in no table."""

from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from config.sessions import SessionStore

PASSWORD = "not-a-common-one-9"
PAGE = "/admin/api_manager/apikey/"


@pytest.fixture
def browser(operator) -> Client:
    browser = Client()
    fields = {"username": operator.username, "password": PASSWORD, "next": "/admin/"}
    assert browser.post("/admin/login/", fields).status_code == 302
    return browser


def test_the_cookie_logs_in_and_what_the_database_holds_does_not(browser):
    cookie = browser.cookies["sessionid"].value
    assert browser.get(PAGE).status_code == 200
    kept = Session.objects.get()
    assert cookie not in kept.session_key + kept.session_data
    thief = Client()
    thief.cookies["sessionid"] = kept.session_key
    assert thief.get(PAGE).status_code == 302


def test_whoever_logs_out_is_out(browser):
    cookie = browser.cookies["sessionid"].value
    browser.post("/admin/logout/")
    assert not Session.objects.filter(expire_date__gt=timezone.now()).exists()
    browser.cookies["sessionid"] = cookie
    assert browser.get(PAGE).status_code == 302


def test_a_session_ends(browser):
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    assert browser.get(PAGE).status_code == 302


def test_a_session_is_found_and_deleted_by_its_cookie(db):
    session = SessionStore()
    session["key"] = "value"
    session.save()
    cookie = session.session_key
    assert session.exists(cookie)
    assert SessionStore(cookie)["key"] == "value"
    session["key"] = "other"
    session.save()
    assert SessionStore(cookie)["key"] == "other"
    SessionStore().delete(cookie)
    assert not session.exists(cookie)
    assert SessionStore(cookie).get("key") is None
    SessionStore().delete()  # of a session that was never saved there is nothing to delete


def age(seconds: float) -> None:
    """Make each session as old as if nobody had asked for anything meanwhile."""
    for kept in Session.objects.all():
        data = kept.get_decoded()
        data |= {name: data[name] - seconds for name in ("started", "seen")}
        kept.session_data = SessionStore().encode(data)
        kept.expire_date -= timedelta(seconds=seconds)
        kept.save()


def test_an_idle_session_ends_after_an_hour(browser):
    age(59 * 60)
    assert browser.get(PAGE).status_code == 200
    age(59 * 60)  # from that request on
    assert browser.get(PAGE).status_code == 200
    age(61 * 60)
    assert browser.get(PAGE).status_code == 302


def test_a_session_ends_after_twelve_hours_however_busy(browser):
    for _ in range(13):
        age(55 * 60)
        assert browser.get(PAGE).status_code == 200
    age(10 * 60)
    assert browser.get(PAGE).status_code == 302
    assert not Session.objects.filter(expire_date__gt=timezone.now()).exists()


def test_looking_at_pages_writes_a_session_once_a_minute(browser):
    def writes() -> int:
        with CaptureQueriesContext(connection) as captured:
            browser.get(PAGE)
        return sum('UPDATE "django_session"' in query["sql"] for query in captured)

    assert writes() == 0
    age(61)
    assert writes() == 1


def test_the_cookies_are_for_this_site_and_no_script(browser):
    browser.get(PAGE)
    for name in ("sessionid", "csrftoken"):
        assert browser.cookies[name]["httponly"]
        assert browser.cookies[name]["samesite"] == "Lax"

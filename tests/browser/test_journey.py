"""An operator's day in a real browser, on the whole platform: from a key's first token to its end.

Every step is done as an operator does it, by links and buttons; what a client would do, by HTTP beside it.
With ADMIN_PICTURES set (`make browser-test`) each step is photographed.
"""

import csv
import re
import time
from collections import Counter

import httpx
import pytest

from local import apart
from tests.servers import run_in_admin

from .visit import SIZES, visiting

DEADLINE_SECONDS = 15
PASSWORD = "not-a-common-one-9"
ADD_VIEWER = f"""
from django.contrib.auth.models import Group, User

viewer = User.objects.create_user("vera", "vera@example.com", "{PASSWORD}", is_staff=True)
viewer.groups.add(Group.objects.get(name="Viewer"))
"""


@pytest.fixture(scope="module")
def platform():
    """API, drain, Redis, PostgreSQL and admin; a busy machine is no reason to decide without Redis."""
    with apart.platform(DECISION_TIMEOUT_SECONDS="5") as platform:
        yield platform


@pytest.fixture
def visit(browser, platform):
    """The platform's operator has logged in, and may use the clipboard."""
    context = browser.new_context(viewport=SIZES["desk"], reduced_motion="reduce")
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=platform["ADMIN_URL"])
    with visiting(context, platform["ADMIN_URL"]) as visit:
        visit.log_in(platform["DJANGO_SUPERUSER_USERNAME"], platform["DJANGO_SUPERUSER_PASSWORD"])
        yield visit
    context.close()


@pytest.fixture
def spend(platform):
    """Spend a token of a key; returns the status."""
    with httpx.Client(base_url=platform["API_URL"], trust_env=False, timeout=30) as http:

        def post(key):
            return http.post("/api/request", headers={"X-API-Key": key}).status_code

        yield post


class Journey:
    """The steps, each with its picture."""

    def __init__(self, visit):
        self.visit, self.page, self._steps = visit, visit.page, 0

    def picture(self, name):
        self._steps += 1
        self.visit.photograph(f"journey-{self._steps:02}-{name}")

    def follow(self, name, role="link"):
        with self.page.expect_navigation(wait_until="load"):
            self.page.get_by_role(role, name=name).first.click()

    def copy(self):
        """Copy the key that is shown, and read it back from the clipboard."""
        self.page.get_by_role("button", name="Copy").click()
        self.page.wait_for_function("document.querySelector('[role=status]').textContent === 'Copied'")
        key = self.page.evaluate("navigator.clipboard.readText()")
        assert key == self.page.inner_text("#secret")
        return key

    def export(self):
        """Download what is shown as CSV; returns the rows."""
        self.follow("Export…")
        self.picture("export")
        with self.page.expect_download() as download:
            self.page.get_by_role("button", name=re.compile("^CSV")).click()
        with download.value.path().open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def revoke(self, name):
        self.follow("Revoke…")
        self.page.fill("#id_confirmation", name)
        self.page.fill("#id_reason", "The journey ends")
        self.picture("revoke")
        self.follow("Revoke", role="button")

    def reload_until(self, words):
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not re.search(words, self.page.inner_text("#content")):
            assert time.monotonic() < deadline, self.page.inner_text("#content")
            self.page.reload(wait_until="load")


def eventually(value, expected):
    deadline = time.monotonic() + DEADLINE_SECONDS
    while (seen := value()) != expected:
        assert time.monotonic() < deadline, seen
        time.sleep(0.02)


def test_a_key_is_issued_spent_watched_rotated_and_revoked(visit, spend):
    journey, page = Journey(visit), visit.page
    journey.picture("overview-without-requests")

    journey.follow("Issue a key")
    page.fill("#id_name", "Journey")
    page.fill("#id_burst", "3")
    page.fill("#id_requests_per_hour", "1")
    journey.picture("new-key")
    journey.follow("Save", role="button")
    journey.picture("issued")
    first = journey.copy()

    eventually(lambda: spend(first), 200)
    assert [spend(first) for _ in range(4)] == [200, 200, 429, 429]
    journey.follow("Overview")
    journey.reload_until(r"(?s)Requests\s+5\s.*Limited\s+2\s.*Who is limited.*Journey")
    assert "Healthy" in page.inner_text(".pipeline-state")
    journey.picture("overview")

    journey.follow("Journey")
    page.get_by_text("of 3 tokens").wait_for()
    journey.picture("key")
    journey.follow("Where this key was used")
    assert "127.0.0.1" in page.inner_text(".uses >> nth=0")
    journey.picture("where-used")

    journey.follow("Its requests of this time")
    page.fill("#id_status_code", "429")
    journey.follow("Filter", role="button")
    assert set(page.locator("#result_list .status").all_inner_texts()) == {"429 limited"}
    journey.picture("filtered")
    rows = journey.export()
    counts = Counter()
    for row in rows:
        counts[row["status_code"]] += int(row["count"])
    assert counts == {"429": 2}

    key_page = f"{visit.address}/admin/api_manager/apikey/{rows[0]['api_key_id']}/change/"
    page.goto(key_page)
    journey.follow("Rotate…")
    page.fill("#id_grace_minutes", "0")
    journey.picture("rotate")
    journey.follow("Rotate", role="button")
    second = journey.copy()
    assert second != first
    eventually(lambda: spend(first), 403)
    eventually(lambda: spend(second), 429)  # a rotation mints no fresh burst

    journey.follow("To the key's page")
    journey.revoke("Journey")
    assert page.inner_text(".key-head .status") == "Revoked"
    journey.picture("revoked")
    eventually(lambda: spend(second), 403)
    assert not visit.wrong


def test_a_viewer_sees_no_button_that_changes_and_is_refused_by_address(browser, platform):
    run_in_admin(platform["DATABASE_URL"], ADD_VIEWER)
    manager = "/admin/api_manager"
    context = browser.new_context(viewport=SIZES["desk"], reduced_motion="reduce")
    with visiting(context, platform["ADMIN_URL"]) as visit:
        visit.log_in("vera", PASSWORD)
        page = visit.page
        assert page.get_by_role("link", name="Issue a key").count() == 0
        visit.go(f"{manager}/apikey/")
        assert page.get_by_role("link", name=re.compile("Import|Add")).count() == 0
        visit.photograph("journey-viewer-keys")
        visit.go(f"{manager}/apikey/1/change/")
        assert page.inner_text(".key-head .status") == "Active"
        [button] = page.locator(".page-buttons a").all()
        assert "What if…" in button.inner_text()
        visit.photograph("journey-viewer-key")
        refused = (
            *(f"apikey/1/{name}/" for name in ("edit", "expiry", "limits", "note", "rotate", "revoke")),
            *(f"{model}/add/" for model in ("apikey", "tier", "managementtoken")),
            "apikey/import/",
            "requestlog/export/",
        )
        for path in refused:
            assert page.goto(f"{visit.address}{manager}/{path}").status == 403, path
        visit.photograph("journey-viewer-refused")
        assert not visit.wrong
    context.close()


def test_a_key_is_found_by_the_keyboard_alone(browser, platform):
    context = browser.new_context(viewport=SIZES["desk"], reduced_motion="reduce")
    with visiting(context, platform["ADMIN_URL"]) as visit:
        page, keyboard = visit.page, visit.page.keyboard

        def tab_to(selector):
            for _ in range(60):
                if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                    return
                keyboard.press("Tab")
            raise AssertionError(f"60 tabs do not lead to {selector}")

        def enter():
            with page.expect_navigation(wait_until="load"):
                keyboard.press("Enter")

        visit.go("/admin/")
        tab_to("#id_username")
        keyboard.type(platform["DJANGO_SUPERUSER_USERNAME"])
        tab_to("#id_password")
        keyboard.type(platform["DJANGO_SUPERUSER_PASSWORD"])
        enter()
        tab_to("a[href$='/apikey/']")
        enter()
        tab_to("#searchbar")
        keyboard.type("demo")
        enter()
        tab_to("#result_list tbody a")
        enter()
        assert "demo" in page.inner_text(".key-head").lower()
        tab_to(".page-buttons a")
        assert not visit.wrong
    context.close()

"""Every page of the admin in a real browser: its policy refuses nothing of it, nor does WCAG 2 A or AA.

Each page is loaded once, and then looked at in four forms: on a desk and on a phone, light and dark. With
ADMIN_PICTURES set (`make browser-test`) each form is also photographed.
"""

import os
from contextlib import contextmanager

import pytest
from axe_playwright_python.base import AXE_SCRIPT, AxeResults

from .conftest import PASSWORD, PICTURES

SIZES = {"desk": {"width": 1440, "height": 900}, "phone": {"width": 390, "height": 844}}
WCAG = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}
CONTRAST = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}
TAKES_PICTURES = bool(os.environ.get("ADMIN_PICTURES"))
MANAGER = "/admin/api_manager"
PAGES = {
    "overview": "/admin/",
    "keys": f"{MANAGER}/apikey/",
    "keys-none-found": f"{MANAGER}/apikey/?q=nothing",
    "key-add": f"{MANAGER}/apikey/add/",
    "key": f"{MANAGER}/apikey/1/change/",
    "key-limits": f"{MANAGER}/apikey/2/change/",
    "key-revoked": f"{MANAGER}/apikey/4/change/",
    "key-history": f"{MANAGER}/apikey/1/history/",
    "key-find": f"{MANAGER}/apikey/find/",
    "key-rotate": f"{MANAGER}/apikey/1/rotate/",
    "key-revoke": f"{MANAGER}/apikey/revoke/?id=1&id=2",
    "tiers": f"{MANAGER}/tier/",
    "tier": f"{MANAGER}/tier/1/change/",
    "tier-limits": f"{MANAGER}/tier/3/change/",
    "tier-delete": f"{MANAGER}/tier/1/delete/",
    "requests": f"{MANAGER}/requestlog/",
    "request": f"{MANAGER}/requestlog/1/change/",
    "usage": f"{MANAGER}/usagehourly/",
    "audit": f"{MANAGER}/auditevent/",
    "tokens": f"{MANAGER}/managementtoken/",
    "token-add": f"{MANAGER}/managementtoken/add/",
    "token": f"{MANAGER}/managementtoken/1/change/",
    "token-rotate": f"{MANAGER}/managementtoken/1/rotate/",
    "token-revoke": f"{MANAGER}/managementtoken/revoke/?id=1",
    "users": "/admin/auth/user/",
    "user-add": "/admin/auth/user/add/",
    "user": "/admin/auth/user/1/change/",
    "user-password": "/admin/auth/user/1/password/",
    "groups": "/admin/auth/group/",
    "group": "/admin/auth/group/1/change/",
    "password": "/admin/password_change/",
}


class Visit:
    """A page of a browser, and all that went wrong on it."""

    def __init__(self, page, address):
        self.page, self.address, self.wrong = page, address, []
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("request", self._look_where)

    def _hear(self, message):
        # Chromium says so of each page that is answered with an error, which here is meant.
        if message.type in {"error", "warning"} and "Failed to load resource" not in message.text:
            self.wrong.append(message.text)

    def _look_where(self, request):
        if not request.url.startswith((self.address, "data:")):
            self.wrong.append(f"asks elsewhere: {request.url}")

    def go(self, path):
        answer = self.page.goto(self.address + path, wait_until="load")
        self.page.wait_for_function("window.Alpine && !document.documentElement.hasAttribute('x-cloak')")
        return answer

    def log_in(self):
        self.go("/admin/login/")
        self.page.fill("#id_username", "olive")
        self.page.fill("#id_password", PASSWORD)
        self.page.press("#id_password", "Enter")
        self.page.wait_for_url(f"{self.address}/admin/")

    def check(self, name):
        """Look at what is shown in all forms."""
        self.page.evaluate(AXE_SCRIPT)
        self._check_form(name, "phone", "dark", None)  # its colours are those of the desk
        self._check_form(name, "phone", "light", WCAG)
        self._check_form(name, "desk", "light", WCAG)
        self._check_form(name, "desk", "dark", CONTRAST)
        assert not self.wrong, f"{name}: {self.wrong}"

    def _check_form(self, name, width, theme, rules):
        form = f"{name}-{width}-{theme}"
        self.page.set_viewport_size(SIZES[width])
        self.page.evaluate("theme => Alpine.$data(document.documentElement).switchTheme(theme)", theme)
        self.page.wait_for_function(
            "dark => document.documentElement.classList.contains('dark') === dark", arg=theme == "dark"
        )
        if TAKES_PICTURES:
            PICTURES.mkdir(exist_ok=True)
            self.page.screenshot(path=PICTURES / f"{form}.png", full_page=True, animations="disabled")
        scrolls = self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
        assert not scrolls, f"{form} is wider than its window"
        if rules:
            found = self.page.evaluate("rules => axe.run(rules)", rules | {"resultTypes": ["violations"]})
            said = AxeResults(found)
            assert not said.violations_count, f"{form}\n{said.generate_report()}"


@pytest.fixture(scope="module")
def context(browser, address):
    """An operator who is logged in; without motion, since a colour on its way is no colour to be judged."""
    context = browser.new_context(viewport=SIZES["desk"], reduced_motion="reduce")
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
    page = context.new_page()
    Visit(page, address).log_in()
    page.close()
    yield context
    context.close()


@contextmanager
def visiting(context, address):
    page = context.new_page()
    try:
        yield Visit(page, address)
    finally:
        page.close()


@pytest.fixture
def visit(context, address):
    with visiting(context, address) as visit:
        yield visit


@pytest.fixture
def stranger(browser, address):
    """Somebody who has not logged in."""
    context = browser.new_context(viewport=SIZES["desk"], reduced_motion="reduce")
    with visiting(context, address) as visit:
        yield visit
    context.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_for_everybody(visit, name):
    assert visit.go(PAGES[name]).status == 200
    visit.check(name)


def test_the_overview_draws_its_chart(visit):
    visit.go("/admin/")
    drawn = "Object.values(Chart.instances).map(chart => chart.data.datasets[0].data.length)"
    assert visit.page.evaluate(drawn) == [4]


def test_a_secret_is_shown_once_and_copied_by_the_keyboard(visit):
    visit.go(f"{MANAGER}/apikey/add/")
    visit.page.fill("#id_name", "Shown once")
    visit.page.click("[name=_save]")
    visit.page.wait_for_selector("#secret")
    visit.check("key-issued")
    visit.page.focus("[data-copy]")
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_function("document.querySelector('[role=status]').textContent === 'Copied'")
    secret = visit.page.inner_text("#secret")
    assert visit.page.evaluate("navigator.clipboard.readText()") == secret
    assert visit.page.inner_text("[data-copy]") == "Copied"
    assert not visit.wrong


def test_a_form_says_what_is_wrong(visit):
    visit.go(f"{MANAGER}/apikey/add/")
    visit.page.fill("#id_burst", "0")
    visit.page.click("[name=_save]")
    visit.page.wait_for_selector(".errornote")
    visit.check("key-add-wrong")


def test_a_limit_is_added_to_a_tier_and_says_what_is_wrong(visit):
    visit.go(f"{MANAGER}/tier/1/change/")
    visit.page.get_by_text("Add another Limit").click()
    visit.page.fill("#id_limits-0-name", "default")
    visit.page.fill("#id_limits-0-requests", "10")
    visit.page.click("[name=_save]")
    visit.page.wait_for_selector(".errornote")
    visit.check("tier-limit-wrong")


def test_what_is_selected_offers_its_actions(visit):
    visit.go(f"{MANAGER}/apikey/")
    visit.page.check("#result_list tbody tr:first-child .action-select >> nth=0")
    visit.page.wait_for_selector("#changelist-actions")
    visit.check("keys-selected")


def test_menus_open_by_the_keyboard(visit):
    visit.go(f"{MANAGER}/requestlog/")
    visit.page.keyboard.press("Tab")
    assert visit.page.evaluate("document.activeElement.className") == "skip-link"
    visit.page.get_by_role("button", name="Filters").focus()
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_selector("#changelist-filter input[name=endpoint]")
    visit.check("requests-filters")
    visit.page.keyboard.press("Escape")
    visit.page.wait_for_selector("#changelist-filter", state="hidden")
    visit.page.get_by_role("button", name="olive").focus()
    visit.page.keyboard.press(" ")
    visit.page.get_by_role("button", name="Dark").wait_for()
    visit.page.set_viewport_size(SIZES["phone"])
    visit.page.get_by_role("button", name="Menu").focus()
    visit.page.keyboard.press("Enter")
    visit.page.get_by_role("link", name="Audit").wait_for()
    visit.check("menu")


@pytest.mark.parametrize(
    ("name", "path", "status"), [("login", "/admin/login/", 200), ("lost", "/lost", 404)]
)
def test_a_stranger_sees_the_same_house(stranger, name, path, status):
    assert stranger.go(path).status == status
    stranger.check(name)


def test_a_form_without_its_token_is_refused_in_the_same_look(stranger):
    stranger.go("/admin/login/")
    stranger.page.context.clear_cookies()
    stranger.page.fill("#id_username", "olive")
    stranger.page.fill("#id_password", "wrong")
    stranger.page.press("#id_password", "Enter")
    stranger.page.get_by_text("This form is out of date").wait_for()
    stranger.check("csrf")

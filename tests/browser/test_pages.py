"""Every page of the admin in a real browser: its policy refuses nothing of it, nor does WCAG 2 A or AA.

Each page is loaded once, and then looked at in four forms: on a desk and on a phone, light and dark. With
ADMIN_PICTURES set (`make browser-test`) each form is also photographed.
"""

import pytest
from django_otp.oath import totp

from .conftest import TOTP_KEY
from .visit import SIZES, Visit, visiting

MANAGER = "/admin/api_manager"
PAGES = {
    "overview": "/admin/",
    "keys": f"{MANAGER}/apikey/",
    "keys-none-found": f"{MANAGER}/apikey/?q=nothing",
    "key-add": f"{MANAGER}/apikey/add/",
    "key": f"{MANAGER}/apikey/1/change/",
    "key-plan": f"{MANAGER}/apikey/2/edit/",
    "key-revoked": f"{MANAGER}/apikey/4/change/",
    "key-replaced": f"{MANAGER}/apikey/2/change/?range=1h",
    "key-edit": f"{MANAGER}/apikey/1/edit/",
    "key-extend": f"{MANAGER}/apikey/2/expiry/",
    "key-limits": f"{MANAGER}/apikey/1/limits/",
    "key-networks": f"{MANAGER}/apikey/1/networks/",
    "key-note": f"{MANAGER}/apikey/1/note/",
    "key-history": f"{MANAGER}/apikey/1/history/",
    "key-find": f"{MANAGER}/apikey/find/",
    "key-rotate": f"{MANAGER}/apikey/1/rotate/",
    "key-revoke": f"{MANAGER}/apikey/1/revoke/",
    "keys-revoke": f"{MANAGER}/apikey/revoke/?id=1&id=2",
    "key-import": f"{MANAGER}/apikey/import/",
    "tiers": f"{MANAGER}/tier/",
    "tier": f"{MANAGER}/tier/1/change/",
    "tier-limits": f"{MANAGER}/tier/3/change/",
    "tier-what-if-answer": f"{MANAGER}/tier/3/what-if/?requests_per_hour=50&limits=second:1/60&range=24h",
    "tier-what-if-carried": f"{MANAGER}/tier/3/change/?requests_per_hour=50&limits=second:1/60&what_if=1",
    "key-what-if": f"{MANAGER}/apikey/1/what-if/?requests_per_hour=1000&burst=900&limits=&range=1h",
    "tier-delete": f"{MANAGER}/tier/1/delete/",
    "rules": f"{MANAGER}/tierrule/",
    "rule-add": f"{MANAGER}/tierrule/add/",
    "rule": f"{MANAGER}/tierrule/1/change/",
    "rule-preview": f"{MANAGER}/tierrule/2/preview/",
    "suggestions": f"{MANAGER}/tiersuggestion/",
    "requests": f"{MANAGER}/requestlog/",
    "requests-of-a-key": f"{MANAGER}/requestlog/?range=7d&api_key=1",
    "requests-of-an-hour": f"{MANAGER}/requestlog/?range=1h",
    "requests-none-found": f"{MANAGER}/requestlog/?endpoint=/nothing",
    "requests-wrong": f"{MANAGER}/requestlog/?status_code=x&client_ip=y",
    "requests-origins": f"{MANAGER}/requestlog/origins/?api_key=1",
    "requests-export": f"{MANAGER}/requestlog/export/?range=7d&status_code=4xx",
    "request": f"{MANAGER}/requestlog/1/change/",
    "usage": f"{MANAGER}/usagehourly/",
    "statements": f"{MANAGER}/statement/",
    "statement": f"{MANAGER}/statement/?owner=ops@example.com",
    "statement-none": f"{MANAGER}/statement/?owner=nobody@example.com",
    "audit": f"{MANAGER}/auditevent/",
    "tokens": f"{MANAGER}/managementtoken/",
    "token-add": f"{MANAGER}/managementtoken/add/",
    "token": f"{MANAGER}/managementtoken/1/change/",
    "token-rotate": f"{MANAGER}/managementtoken/1/rotate/",
    "token-revoke": f"{MANAGER}/managementtoken/revoke/?id=1",
    "webhooks": f"{MANAGER}/webhook/",
    "webhook-add": f"{MANAGER}/webhook/add/",
    "webhook": f"{MANAGER}/webhook/1/change/",
    "webhook-rotate": f"{MANAGER}/webhook/1/rotate/",
    "webhook-ping": f"{MANAGER}/webhook/1/ping/",
    "deliveries": f"{MANAGER}/delivery/",
    "delivery": f"{MANAGER}/delivery/1/change/",
    "users": "/admin/auth/user/",
    "user-add": "/admin/auth/user/add/",
    "user": "/admin/auth/user/1/change/",
    "user-password": "/admin/auth/user/1/password/",
    "groups": "/admin/auth/group/",
    "group": "/admin/auth/group/4/change/",
    "group-role": "/admin/auth/group/1/change/",
    "user-second-factor": "/admin/auth/user/1/second-factor/",
    "user-second-factor-remove": "/admin/auth/user/2/second-factor/",
    "password": "/admin/password_change/",
    "second-factor": "/admin/second-factor/",
}


@pytest.fixture(scope="module")
def context(browser, address):
    """An operator who is logged in; without motion, since a colour on its way is no colour to be judged."""
    context = browser.new_context(viewport=SIZES["desk"], reduced_motion="reduce")
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
    page = context.new_page()
    Visit(page, address).log_in()
    assert page.url == f"{address}/admin/"
    page.close()
    yield context
    context.close()


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


def test_the_overview_draws_the_range_that_is_chosen(visit):
    drawn = "Object.values(Chart.instances)[0].data.datasets.map(dataset => dataset.data.length)"
    visit.go("/admin/")
    assert visit.page.evaluate(drawn) == [24, 24]
    visit.page.get_by_role("link", name="30 days").click()
    visit.page.wait_for_url("**/admin/?range=30d")
    visit.page.wait_for_function("window.Chart && Object.values(Chart.instances).length")
    assert visit.page.evaluate(drawn) == [30, 30]
    assert visit.page.inner_text(".ranges [aria-current]") == "30 days"
    visit.page.get_by_role("link", name="Checkout").first.click()
    visit.page.wait_for_url(f"**{MANAGER}/apikey/1/change/")
    assert not visit.wrong


def test_an_overview_without_requests_is_whole_for_everybody(visit, no_requests_yet):
    visit.go("/admin/")
    visit.page.get_by_text("No requests yet").wait_for()
    visit.check("overview-new")


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


def test_a_rule_says_which_other_it_contradicts(visit):
    visit.go(f"{MANAGER}/tierrule/add/")
    visit.page.fill("#id_name", "Back to free")
    visit.page.select_option("#id_tier", label="basic")
    visit.page.select_option("#id_condition", "share_at_most")
    visit.page.fill("#id_threshold", "50")
    visit.page.select_option("#id_action", "change")
    visit.page.select_option("#id_target_tier", label="free")
    visit.page.click("[name=_save]")
    visit.page.wait_for_selector(".errornote")
    assert "it would go back and forth" in visit.page.inner_text("#tierrule_form")
    visit.check("rule-wrong")


def test_a_suggestion_is_decided_by_one_click(visit):
    visit.go(f"{MANAGER}/tiersuggestion/?state__exact=waiting")
    assert visit.page.inner_text(".nav-count >> visible=true") == "2"
    visit.page.get_by_role("button", name="Dismiss", exact=True).first.click()
    visit.page.get_by_text("Dismissed: 1.").wait_for()
    assert visit.page.inner_text(".nav-count >> visible=true") == "1"
    visit.check("suggestion-dismissed")


def test_what_is_selected_offers_its_actions(visit):
    visit.go(f"{MANAGER}/apikey/")
    visit.page.check("#result_list tbody tr:first-child .action-select >> nth=0")
    visit.page.wait_for_selector("#changelist-actions")
    visit.check("keys-selected")


def choose_all(visit, action):
    visit.go(f"{MANAGER}/apikey/?status=active")
    visit.page.check("#action-toggle")
    visit.page.wait_for_selector("#changelist-actions")
    visit.page.select_option("[name=action]", action)
    visit.page.click("#changelist-actions [type=submit]")


def test_many_keys_are_revoked_after_a_question(visit):
    choose_all(visit, "revoke")
    visit.page.fill("#id_reason", "Its owner has left")
    visit.page.fill("#id_count", "9999")
    visit.page.get_by_role("button", name="Revoke").click()
    visit.page.wait_for_selector("form .errors")
    visit.check("keys-revoke")


def test_a_tier_of_many_keys_is_chosen_and_what_changes_shown(visit):
    choose_all(visit, "retier")
    visit.page.select_option("#id_tier", label="basic")
    visit.page.get_by_role("button", name="Show what changes").click()
    visit.page.wait_for_selector("#id_count")
    visit.check("keys-retier")


@pytest.mark.parametrize(("name", "tier"), [("right", "free"), ("wrong", "gold")])
def test_a_file_of_keys_is_shown_before_it_is_imported(visit, name, tier):
    visit.go(f"{MANAGER}/apikey/import/")
    lines = ["digest,name,tier", *(f"{number:064x},A shop,{tier}" for number in range(3))]
    file = {"name": "keys.csv", "mimeType": "text/csv", "buffer": "\n".join(lines).encode()}
    visit.page.set_input_files("#id_file", file)
    visit.page.fill("#id_prefix", "sk_live_")
    visit.page.fill("#id_min_length", "32")
    visit.page.fill("#id_max_length", "40")
    visit.page.get_by_role("button", name="Check the file").click()
    visit.page.wait_for_selector("table.facts")
    visit.check(f"key-import-{name}")


def test_menus_open_by_the_keyboard(visit):
    visit.go(f"{MANAGER}/usagehourly/")
    visit.page.keyboard.press("Tab")
    assert visit.page.evaluate("document.activeElement.className") == "skip-link"
    visit.page.get_by_role("button", name="Filters").focus()
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_selector("#changelist-filter input[name=endpoint]")
    visit.check("usage-filters")
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


def test_a_login_asks_for_the_second_factor(stranger):
    stranger.log_in("tessa")
    stranger.check("second-factor-code")
    stranger.page.fill("#id_code", f"{totp(TOTP_KEY):06}")
    with stranger.page.expect_navigation(wait_until="load"):
        stranger.page.press("#id_code", "Enter")
    assert stranger.page.url == f"{stranger.address}/admin/"
    for name, path in (
        ("set-up", ""),
        ("remove", "remove/"),
        ("renew", "backup-codes/"),
    ):
        stranger.go(f"/admin/second-factor/{path}")
        stranger.check(f"second-factor-{name}")
    stranger.page.fill("#id_code", f"{totp(TOTP_KEY, t0=-30):06}")  # the next one, since a code works once
    stranger.page.get_by_role("button", name="Show new codes").click()
    stranger.page.get_by_text("the only time these backup codes are shown").wait_for()
    stranger.check("second-factor-backup-codes")


def test_whoever_fails_too_often_is_told_when_to_try_again(stranger):
    stranger.log_in("nobody", "guess")
    stranger.page.get_by_text("Too many failed logins").wait_for()
    stranger.check("locked-out")


def test_a_form_without_its_token_is_refused_in_the_same_look(stranger):
    stranger.go("/admin/login/")
    stranger.page.context.clear_cookies()
    stranger.page.fill("#id_username", "olive")
    stranger.page.fill("#id_password", "wrong")
    stranger.page.press("#id_password", "Enter")
    stranger.page.get_by_text("This form is out of date").wait_for()
    stranger.check("csrf")

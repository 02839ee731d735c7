"""The second factor of a login: set up, asked for, required, replayed, guessed at, lost."""

import re
import time
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone
from django_otp.oath import TOTP
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from api_manager import second_factor
from api_manager.audit import Actor
from api_manager.models import AuditEvent
from config.urls import urlpatterns

PASSWORD = "not-a-common-one-9"
OVERVIEW = "/admin/second-factor/"
CODE = f"{OVERVIEW}code/"
KEYS = "/admin/api_manager/apikey/"


@pytest.fixture(autouse=True)
def quick_hashes(settings):
    """What a hash costs is not what these tests are about."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def tessa(quick_hashes, db) -> User:
    """Somebody with a second factor."""
    user = User.objects.create_superuser("tessa", "", PASSWORD)
    TOTPDevice.objects.create(user=user, name="Authenticator app")
    second_factor.renew_backup_codes(user, Actor("test:fixture"))
    AuditEvent.objects.all().delete()
    return user


def browser(name: str = "tessa") -> Client:
    """Somebody's browser, once the password is accepted."""
    client = Client()
    fields = {"username": name, "password": PASSWORD, "next": KEYS}
    assert client.post("/admin/login/", fields).url == KEYS
    return client


def totp(user: User, steps: int = 0) -> str:
    device = TOTPDevice.objects.get(user=user)
    code = TOTP(device.bin_key)
    code.time = time.time() + steps * code.step
    return f"{code.token():06}"


def wrong(user: User) -> str:
    right = {totp(user, steps) for steps in range(-2, 3)}
    return next(
        code for code in ("000000", "111111", "222222", "333333", "444444", "555555") if code not in right
    )


def let_time_pass(kind=TOTPDevice) -> None:
    """As if the wait after a wrong code were over."""
    kind.objects.update(throttling_failure_timestamp=timezone.now() - timedelta(days=1))


def actions() -> list[str]:
    return list(AuditEvent.objects.order_by("id").values_list("action", flat=True))


def test_a_login_asks_for_a_code_before_it_shows_anything(tessa):
    client = browser()
    cookie = client.cookies["sessionid"].value
    for path in (
        "/",
        "/admin/",
        KEYS,
        f"{KEYS}add/",
        "/admin/password_change/",
        OVERVIEW,
        f"{OVERVIEW}remove/",
    ):
        assert client.get(path).url.startswith(f"{CODE}?next="), path
        assert client.post(path).url.startswith(f"{CODE}?next="), path
    assert actions() == []
    led = client.get(f"{KEYS}?q=x").url
    assert client.get(led).status_code == 200
    answer = client.post(led, {"code": totp(tessa)})
    assert answer.url == f"{KEYS}?q=x"
    assert client.get(KEYS).status_code == 200
    assert client.cookies["sessionid"].value != cookie
    event = AuditEvent.objects.get()
    assert (event.action, event.actor, event.detail) == (
        "logged_in",
        "admin:tessa",
        {"second_factor": "authenticator app"},
    )


def test_every_view_is_closed_to_whoever_has_shown_a_password_only(tessa, settings):
    """Whatever comes to be served beside the admin site is closed, too, unless it is for strangers."""
    client = browser()
    open_to_strangers = {"health", "metrics", "notice_metrics"}
    for pattern in urlpatterns:
        if (name := getattr(pattern, "name", None)) and name not in open_to_strangers | {
            "second_factor_code"
        }:
            assert client.get(f"/{pattern.pattern}").url.startswith(CODE), name
    assert client.get("/health").status_code == client.get("/metrics").status_code == 200
    assert client.post("/admin/logout/").status_code == 200
    assert client.get(KEYS).url.startswith("/admin/login/")


@pytest.mark.parametrize(
    "wanted", ["https://elsewhere.example/", "//elsewhere.example", "javascript:alert(1)"]
)
def test_it_leads_on_within_the_site_only(tessa, wanted):
    client = browser()
    assert client.post(f"{CODE}?next={wanted}", {"code": totp(tessa)}).url == "/admin/"


def test_a_code_works_once(tessa):
    code = totp(tessa)
    assert browser().post(CODE, {"code": code}).status_code == 302
    answer = browser().post(CODE, {"code": code})
    assert "wrong, or was used already" in answer.text
    let_time_pass()
    assert browser().post(CODE, {"code": totp(tessa, 1)}).status_code == 302


def test_a_backup_code_works_once_and_says_how_many_are_left(tessa):
    codes = list(StaticToken.objects.values_list("token", flat=True))
    assert len(set(codes)) == second_factor.BACKUP_CODES
    written = f" {codes[0][:4].upper()}-{codes[0][4:]} "
    client = browser()
    assert client.post(CODE, {"code": written}).status_code == 302
    assert f"<strong>{second_factor.BACKUP_CODES - 1}</strong>" in client.get(OVERVIEW).text
    assert AuditEvent.objects.get().detail == {"second_factor": "backup codes"}
    assert browser().post(CODE, {"code": codes[0]}).status_code == 200


@pytest.mark.parametrize("kind", [TOTPDevice, StaticDevice])
def test_guesses_are_looked_at_ever_more_seldom(tessa, kind):
    client = browser()
    guess, right = (
        (wrong(tessa), totp(tessa))
        if kind is TOTPDevice
        else ("a" * 8, StaticToken.objects.values_list("token", flat=True)[0])
    )
    for failures in range(1, 4):
        assert "wrong, or was used already" in client.post(CODE, {"code": guess}).text
        answer = client.post(CODE, {"code": right})
        assert "Too many wrong codes. Try again at" in answer.text
        assert kind.objects.get().throttling_failure_count == failures
        let_time_pass(kind)
    assert client.post(CODE, {"code": right}).status_code == 302
    assert actions() == ["login_failed", "logged_in"]


@pytest.mark.parametrize("code", ["", "12345", "1234567", "١٢٣٤٥٦", "12_456", "+12345", "abcdefg1", "\0" * 6])
def test_what_is_no_code_is_refused_at_its_field(tessa, code):
    form = browser().post(CODE, {"code": code}).context["form"]
    assert list(form.errors) == ["code"]
    assert TOTPDevice.objects.get().throttling_failure_count == 0


def test_setting_it_up_shows_the_secret_until_a_code_of_it_comes(site: Client, operator, caplog):
    caplog.set_level("DEBUG")
    page = site.get(OVERVIEW)
    assert "no-store" in page["Cache-Control"]
    device = TOTPDevice.objects.get(user=operator, confirmed=False)
    assert second_factor.secret(device) in page.text
    assert '<svg width="' in page.text
    assert site.get(OVERVIEW).context["secret"] == page.context["secret"]
    assert "wrong" in site.post(OVERVIEW, {"code": wrong(operator)}).text
    assert not second_factor.is_enrolled(operator)
    let_time_pass()
    cookie = site.cookies["sessionid"].value
    answer = site.post(f"{OVERVIEW}?next={KEYS}", {"code": totp(operator)})
    codes = re.findall(r"<li><code>([a-z2-7]{8})</code>", answer.text)
    assert set(codes) == set(StaticToken.objects.values_list("token", flat=True))
    assert "no-store" in answer["Cache-Control"]
    assert f'href="{KEYS}"' in answer.text
    assert site.cookies["sessionid"].value != cookie
    page = site.get(OVERVIEW)
    assert "Backup codes left" in page.text
    event = AuditEvent.objects.get()
    assert (event.action, event.target_id, event.detail) == (
        "enrolled",
        operator.pk,
        {"secret": "shown once"},
    )
    secret = second_factor.secret(device).replace(" ", "")
    kept = caplog.text + str([session.get_decoded() for session in Session.objects.all()]) + page.text
    for hidden in (secret, device.key, *codes):
        assert hidden not in kept


def test_an_offer_that_was_not_taken_is_not_offered_for_ever(site: Client, operator):
    first = site.get(OVERVIEW).context["secret"]
    TOTPDevice.objects.update(created_at=timezone.now() - timedelta(hours=2))
    assert site.get(OVERVIEW).context["secret"] != first
    assert TOTPDevice.objects.count() == 1


def test_other_sessions_have_to_show_the_new_factor(operator):
    here, there = Client(), Client()
    for client in (here, there):
        client.force_login(operator)
        assert client.get(KEYS).status_code == 200
    here.get(OVERVIEW)
    here.post(OVERVIEW, {"code": totp(operator)})
    assert here.get(KEYS).status_code == 200
    assert there.get(KEYS).url.startswith(CODE)


def test_backup_codes_are_renewed_and_the_factor_is_removed(tessa):
    client = browser()
    client.post(CODE, {"code": totp(tessa)})
    old = set(StaticToken.objects.values_list("token", flat=True))
    assert client.get(f"{OVERVIEW}backup-codes/").status_code == 200
    assert set(StaticToken.objects.values_list("token", flat=True)) == old
    shown = client.post(f"{OVERVIEW}backup-codes/", {"code": min(old)}).text
    new = set(StaticToken.objects.values_list("token", flat=True))
    assert len(new) == second_factor.BACKUP_CODES
    assert not new & old
    assert all(code in shown for code in new)
    assert client.get(f"{OVERVIEW}remove/").status_code == 200
    assert client.post(f"{OVERVIEW}remove/", {"code": min(new)}).url == OVERVIEW
    assert not TOTPDevice.objects.exists()
    assert not StaticDevice.objects.exists()
    assert browser().get(KEYS).status_code == 200
    assert actions() == ["logged_in", "codes_issued", "unenrolled", "logged_in"]
    for page in ("backup-codes/", "remove/"):
        assert client.post(f"{OVERVIEW}{page}").url == OVERVIEW


def test_a_session_alone_does_not_change_the_second_factor(tessa):
    client, used = browser(), totp(tessa)
    client.post(CODE, {"code": used})
    kept = set(StaticToken.objects.values_list("token", flat=True))
    for page in (
        f"{OVERVIEW}backup-codes/",
        f"{OVERVIEW}remove/",
        f"/admin/auth/user/{tessa.pk}/second-factor/",
    ):
        for sent in ({}, {"code": ""}, {"code": used}, {"code": wrong(tessa)}, {"code": totp(tessa, 1)}):
            client.post(page, sent)  # the last one comes too soon after a wrong one
            assert second_factor.is_enrolled(tessa)
            assert set(StaticToken.objects.values_list("token", flat=True)) == kept


def test_nobody_reads_anothers_secret_or_backup_codes(site: Client, tessa):
    device, codes = TOTPDevice.objects.get(), StaticDevice.objects.get()
    totps, statics = "/admin/otp_totp/totpdevice/", "/admin/otp_static/staticdevice/"
    for page in (
        totps,
        f"{totps}{device.pk}/change/",
        f"{totps}{device.pk}/config/",
        f"{totps}{device.pk}/qrcode/",
    ):
        assert site.get(page).status_code == 404, page
    for page in (statics, f"{statics}{codes.pk}/change/"):
        assert site.get(page).status_code == 404, page


def test_an_owner_removes_anothers(site: Client, tessa):
    page = f"/admin/auth/user/{tessa.pk}/second-factor/"
    assert page in site.get(f"/admin/auth/user/{tessa.pk}/change/").text
    assert "lost the device" in site.get(page).text
    assert second_factor.is_enrolled(tessa)
    assert site.post(page).url == f"/admin/auth/user/{tessa.pk}/change/"
    assert not second_factor.is_enrolled(tessa)
    event = AuditEvent.objects.get(action="unenrolled")
    assert (event.actor, event.target_id) == ("admin:alice", tessa.pk)
    assert "has no second factor" in site.get(page).text
    assert browser().get(KEYS).status_code == 200


def test_where_it_is_required_nothing_is_reached_before_it_is_set_up(quick_hashes, db, settings):
    settings.REQUIRE_2FA = True
    user = User.objects.create_superuser("nina", "", PASSWORD)
    client = browser("nina")
    for path in ("/admin/", KEYS, "/admin/password_change/", CODE, f"{OVERVIEW}backup-codes/"):
        assert client.get(path).url.startswith(f"{OVERVIEW}?next="), path
        assert client.post(path).url.startswith(f"{OVERVIEW}?next="), path
    assert "asks everybody" in client.get(OVERVIEW).text
    client.post(OVERVIEW, {"code": totp(user)})
    assert client.get(KEYS).status_code == 200
    client.post(f"{OVERVIEW}remove/", {"code": StaticToken.objects.first().token})
    assert client.get(KEYS).url.startswith(f"{OVERVIEW}?next=")


def test_a_session_does_not_outlive_its_device(tessa):
    client = browser()
    client.post(CODE, {"code": totp(tessa)})
    TOTPDevice.objects.all().delete()
    TOTPDevice.objects.create(user=tessa, name="Another")
    assert client.get(KEYS).url.startswith(CODE)

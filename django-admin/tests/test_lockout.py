"""Guessing at passwords: who must wait, for how long, what he is told, and what that leaves behind."""

from datetime import timedelta

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client, RequestFactory
from django.utils import timezone
from prometheus_client import REGISTRY

from api_manager import lockout
from api_manager.models import AuditEvent

PASSWORD = "not-a-common-one-9"
LOGIN = "/admin/login/"
HERE, THERE = "198.51.100.7", "203.0.113.9"


@pytest.fixture(autouse=True)
def quick_hashes(settings):
    """What a hash costs is not what these tests are about."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def alice(quick_hashes, db) -> User:
    return User.objects.create_superuser("alice", "", PASSWORD)


def attempt(name: str, password: str, address: str = HERE, **query):
    fields = {"username": name, "password": password}
    return Client().post(LOGIN, fields, query_params=query, REMOTE_ADDR=address)


def fail(name: str, times: int, address: str = HERE) -> list[int]:
    return [attempt(name, f"guess-{number}", address).status_code for number in range(times)]


def pass_time(by: timedelta) -> None:
    for row in AccessAttempt.objects.all():
        AccessAttempt.objects.filter(pk=row.pk).update(attempt_time=row.attempt_time - by)


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0


def test_five_failures_make_a_name_wait_and_only_from_there(alice):
    assert fail("alice", 6) == [200] * 4 + [429] * 2
    assert attempt("alice", PASSWORD).status_code == 429
    assert attempt("alice", PASSWORD, THERE).status_code == 302
    assert attempt("bob", "guess").status_code == 200


def test_the_wait_ends_and_is_not_prolonged_by_whoever_goes_on(alice):
    fail("alice", 5)
    pass_time(timedelta(minutes=14))
    assert attempt("alice", PASSWORD).status_code == 429
    pass_time(timedelta(minutes=1, seconds=1))
    assert attempt("alice", PASSWORD).status_code == 302


def test_a_login_forgets_the_failures_before_it(alice):
    for _ in range(3):
        assert fail("alice", 4) == [200] * 4
        assert attempt("alice", PASSWORD).status_code == 302


def test_an_address_fails_at_twenty_names_whatever_it_logs_in_to_meanwhile(alice):
    assert [fail(f"name-{number}", 1)[0] for number in range(10)] == [200] * 10
    assert attempt("alice", PASSWORD).status_code == 302
    assert [fail(f"other-{number}", 1)[0] for number in range(11)] == [200] * 9 + [429] * 2
    assert attempt("alice", PASSWORD).status_code == 429
    assert attempt("alice", PASSWORD, THERE).status_code == 302


def test_the_page_tells_when_to_try_again_and_not_whether_the_name_is_somebodys(alice):
    pages = []
    for name, address in (("alice", HERE), ("nobody", THERE)):
        fail(name, 5, address)
        until = timezone.now() + timedelta(minutes=15)
        page = attempt(name, PASSWORD, address)
        assert 890 <= int(page["Retry-After"]) <= 901
        stated = {f"{until - timedelta(seconds=early):%H:%M:%S}" for early in range(30)}
        (said,) = [text for text in stated if text in page.text]
        pages.append(page.text.replace(said, ""))
    assert pages[0] == pages[1]
    assert "owner can let you in" in pages[0]


@pytest.mark.parametrize("user", ["alice", "nobody"])
def test_audit_metric_and_log_tell_of_it_without_a_row_for_each_guess(alice, user, caplog):
    caplog.set_level("INFO")
    before = {name: counted("admin_logins_total", outcome=name) for name in ("refused", "locked_out")}
    locked = counted("admin_lockouts_total")
    for address in (HERE, THERE):
        fail(user, 7, address)
    events = AuditEvent.objects.order_by("id")
    target = alice.pk if user == "alice" else 0
    assert [(e.action, e.target_type, e.target_id, e.actor, e.client_ip) for e in events] == [
        ("login_failed", "user", target, "anonymous", HERE),
        ("locked_out", "user", target, "anonymous", HERE),
    ]
    assert counted("admin_logins_total", outcome="refused") - before["refused"] == 10
    assert counted("admin_logins_total", outcome="locked_out") - before["locked_out"] == 4
    assert counted("admin_lockouts_total") - locked == 2
    assert caplog.text.count("'event': 'login_failed'") == 10
    assert caplog.text.count("'event': 'login_locked_out'") == 2
    assert "nobody" not in caplog.text + str(list(events.values()))
    assert "guess" not in caplog.text


def test_only_what_is_counted_is_kept_and_not_for_long(alice):
    attempt("alice", "guess", next="/admin/?q=pasted")
    (row,) = AccessAttempt.objects.values()
    assert (row["username"], row["ip_address"], row["failures_since_start"]) == ("alice", HERE, 1)
    assert "pasted" not in str(row)
    Client(headers={"user-agent": "another"}).post(
        LOGIN, {"username": "alice", "password": "x"}, REMOTE_ADDR=HERE
    )
    assert AccessAttempt.objects.get().failures_since_start == 2
    assert row["get_data"] == row["post_data"] == ""
    fail("alice", 30)
    assert AccessAttempt.objects.get().failures_since_start == 5
    pass_time(timedelta(minutes=16))
    attempt("bob", "guess", THERE)
    assert AccessAttempt.objects.get().ip_address == THERE


@pytest.mark.parametrize("typed", [f"rlk_live_{'Key0' * 12}1", "correct horse battery staple", "n" * 100_000])
def test_what_is_typed_as_a_name_and_is_nobodys_is_counted_and_not_kept(alice, typed):
    assert fail(typed, 6) == [200] * 4 + [429] * 2
    assert fail("ａｌｉｃｅ", 5, THERE) == [200] * 4 + [429]  # Django takes that for alice, and so do we
    kept = set(AccessAttempt.objects.values_list("username", flat=True))
    assert {len(name) for name in kept - {"alice"}} == {64}
    assert typed not in kept


@pytest.mark.parametrize("door", ["page", "command"])
def test_an_owner_lets_somebody_in_at_once(site: Client, quick_hashes, door, capsys):
    bob = User.objects.create_user("bob", "", PASSWORD, is_staff=True)
    fail("bob", 5)
    assert attempt("bob", PASSWORD).status_code == 429
    if door == "page":
        page = site.post("/admin/auth/user/", {"action": "unlock", "_selected_action": [bob.pk]}, follow=True)
        assert "may try again: 1." in page.text
        assert (
            AuditEvent.objects.filter(action="unlocked", target_id=bob.pk, actor="admin:alice").count() == 1
        )
    else:
        call_command("axes_reset_username", "bob")
        assert "1 attempts removed" in capsys.readouterr().out
    assert attempt("bob", PASSWORD).status_code == 302


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        (HERE, "", HERE),
        (HERE, "6.6.6.6", HERE),
        ("127.0.0.1", f"6.6.6.6, {HERE}", HERE),
        ("2001:db8:1:2:3:4:5:6", "", "2001:db8:1:2::"),
        (f"::ffff:{HERE}", "", HERE),
        ("", "", None),
    ],
)
def test_who_counts_as_one(peer, forwarded, expected):
    request = RequestFactory().get(LOGIN, REMOTE_ADDR=peer, HTTP_X_FORWARDED_FOR=forwarded)
    assert lockout.address(request) == expected


def test_a_network_of_ipv6_waits_as_a_whole(alice):
    assert fail("alice", 3, "2001:db8:1:2::1") + fail("alice", 3, "2001:db8:1:2::2") == [200] * 4 + [429] * 2
    assert attempt("alice", PASSWORD, "2001:db8:1:3::1").status_code == 302


def test_where_no_address_is_known_no_stranger_locks_out_everybody(alice):
    for number in range(25):
        fail(f"name-{number}", 1, "")
    assert attempt("alice", PASSWORD, "").status_code == 302

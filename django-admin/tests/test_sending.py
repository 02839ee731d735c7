"""What a receiver is sent, how it is told from a forgery, and where nothing is sent to."""

import asyncio
import json
import re
import socket
import subprocess
import threading
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from time import monotonic
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from api_manager import webhooks
from api_manager.audit import Actor
from api_manager.models import Delivery, Webhook
from api_manager.notices import addresses, posting, sender, signature
from local.ports import free_port
from tests.receiver import receiving
from tests.servers import PROJECT
from tests.waiting import wait_for

ACTOR = Actor("test:notices")


@pytest.fixture(autouse=True)
def private(settings):
    """The receivers of these tests are on loopback."""
    settings.WEBHOOK_ALLOW_PRIVATE = True


@pytest.fixture
def receiver():
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def hook(db, receiver):
    """A webhook that leads to the receiver, and its secret."""
    webhook = Webhook(name="receiver", url=f"{receiver.url}/hooks?from=us", kinds=["key.revoked"])
    return webhooks.create(webhook, ACTOR)


@pytest.fixture
def leader(db):
    """A sender that leads, in the test's own transaction."""
    leader = sender.Sender()
    assert leader.lead()
    yield leader
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_unlock_all()")


def documented_verify():
    """The example of DEPLOYMENT.md, as it stands there."""
    text = (PROJECT / "DEPLOYMENT.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.+?)```", text.split("### Verify a signature", 1)[1], re.DOTALL)[:1]
    names = {}
    exec(code, names)  # noqa: S102  # what the document says is what is tested
    return names["verify"]


def test_a_revoked_key_is_told_and_its_signature_verified_as_documented(issue, hook, receiver, leader):
    key = issue().key
    type(key).objects.filter(pk=key.pk).update(revoked_at=timezone.now())  # as psql does
    assert leader.step()
    assert not leader.step()
    [received] = receiver.received
    delivery = Delivery.objects.select_related("notice").get()
    assert (delivery.status, delivery.status_code, delivery.attempts) == ("delivered", 200, 1)
    body = json.loads(received.body)
    assert (body["type"], body["data"]["key"]["id"]) == ("key.revoked", key.pk)
    sent_at = datetime.fromisoformat(body["timestamp"])
    assert abs(sent_at - delivery.notice.created_at) < timedelta(milliseconds=1)
    assert received.path == "/hooks?from=us"
    assert received.headers["content-type"] == "application/json"
    assert received.headers["host"] == receiver.url.removeprefix("http://")
    assert UUID(received.headers["webhook-id"]) == delivery.notice.uid

    verify, headers = documented_verify(), received.headers
    assert verify(hook.secret, headers, received.body)
    old = headers | {"webhook-timestamp": str(int(headers["webhook-timestamp"]) - 301)}
    for forged in (headers | {"webhook-id": "other"}, old, headers | {"webhook-signature": "v1,AAAA"}):
        assert not verify(hook.secret, forged, received.body)
    assert not verify(hook.secret, headers, received.body + b" ")


def test_a_signature_is_that_of_standard_webhooks():
    """The example of the specification's reference libraries."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # pragma: allowlist secret
    signed = signature.sign([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, '{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="  # pragma: allowlist secret


def test_a_new_secret_signs_beside_the_old_one_until_the_grace_ends(hook, receiver, leader):
    verify = documented_verify()
    new = webhooks.rotate(hook.webhook.pk, timedelta(hours=1), ACTOR)
    assert new.secret != hook.secret
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", new.secret)
    webhooks.ping(hook.webhook.pk)
    leader.step()
    Webhook.objects.update(previous_secret_until=timezone.now())
    webhooks.ping(hook.webhook.pk)
    leader.step()
    taken = [
        [verify(each.secret, got.headers, got.body) for each in (hook, new)] for got in receiver.received
    ]
    assert taken == [[True, True], [False, True]]
    other = Webhook.objects.create(name="other", url=receiver.url, kinds=["key.quota"])
    other.refresh_from_db()
    assert len({signature.secret(each, version) for each in (hook.webhook, other) for version in (1, 2)}) == 4


def test_what_fails_comes_again_under_its_id_and_the_log_has_the_answer(hook, receiver, leader, caplog):
    answers = [(500, b"away"), (302, b"go on"), (404, "ünd\0".encode() + b"\xff" * 9000), (204, b"")]
    receiver.answer = lambda _: answers[len(receiver.received) - 1]
    webhooks.ping(hook.webhook.pk)
    seen = []
    for _ in answers:
        Delivery.objects.update(next_attempt_at=timezone.now())
        assert leader.step()
        delivery = Delivery.objects.get()
        seen.append((delivery.status, delivery.status_code, delivery.answer[:5], len(delivery.answer)))
    assert seen == [
        ("pending", 500, "away", 4),
        ("pending", 302, "go on", 5),
        ("pending", 404, "ünd��", posting.MAX_ANSWER),
        ("delivered", 204, "", 0),
    ]
    assert len(set(receiver.ids)) == 1
    assert len({received.body for received in receiver.received}) == 1
    assert {received.path for received in receiver.received} == {"/hooks?from=us"}  # no redirect was followed
    assert delivery.attempts == 4
    assert hook.secret not in caplog.text
    assert "/hooks" not in caplog.text


def message(url: str) -> posting.Message:
    now = datetime(2026, 11, 22, tzinfo=UTC)
    return posting.Message(UUID(int=1), "ping", now, {}, url, ["whsec_AAAA"])


def attempt(url: str) -> posting.Outcome:
    [outcome] = asyncio.run(posting.post_all([message(url)]))
    return outcome


def test_whatever_a_receiver_does_is_an_outcome(receiver, monkeypatch, tmp_path):
    monkeypatch.setattr(posting, "DEADLINE_SECONDS", 0.2)
    hangs_up = threading.Event()
    receiver.answer = lambda _: (hangs_up.wait(5), (200, b""))[1]
    slow = attempt(receiver.url)
    hangs_up.set()
    assert (slow.status_code, slow.error) == (None, "There was no answer within 0.2 s.")
    assert slow.duration_ms < 5000
    assert "ConnectError" in attempt(f"http://127.0.0.1:{free_port()}").error
    monkeypatch.setattr(posting, "DEADLINE_SECONDS", 10.0)
    assert "gaierror" in attempt("https://nowhere.invalid/").error


@contextmanager
def saying(answer: bytes):
    """A server that says the same to whomever, HTTP or not; its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            client, _ = server.accept()
            with client, suppress(ConnectionError):
                client.recv(65536)
                client.sendall(answer)
                client.shutdown(socket.SHUT_WR)
                client.recv(1)  # until it was read

        thread = threading.Thread(target=serve, name="saying")
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"\0\xff no HTTP\r\n\r\n", "illegal status line"),
        (b"HTTP/1.1 200 OK\r\n" + b"\xff" * 15_000 + b"\r\n\r\n", "illegal header line"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", "peer closed connection"),
    ],
)
def test_an_error_is_kept_short_as_postgresql_can(hook, leader, answer, said):
    with saying(answer) as url:
        Webhook.objects.update(url=url)
        webhooks.ping(hook.webhook.pk)
        leader.step()
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.attempts) == ("pending", 1)
    assert said in delivery.error
    assert len(delivery.error) <= posting.MAX_ERROR


def test_a_name_that_is_not_answered_holds_up_no_other(receiver, monkeypatch):
    answered, look_up = threading.Event(), socket.getaddrinfo

    def slow(host, *arguments, **options):
        if host == "slow.invalid":
            answered.wait(20)
        return look_up(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    monkeypatch.setattr(posting, "DEADLINE_SECONDS", 3.0)
    urls = [*["https://slow.invalid/"] * 8, receiver.url]
    began = monotonic()
    outcomes = asyncio.run(posting.post_all([message(url) for url in urls]))
    took = monotonic() - began
    answered.set()
    assert [outcome.error for outcome in outcomes] == [*["There was no answer within 3 s."] * 8, ""]
    assert took < 15


def test_no_receiver_sees_a_cookie_of_another_at_its_address(receiver, monkeypatch):
    answer = (
        b"HTTP/1.1 200 OK\r\nset-cookie: session=theirs\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )
    look_up = socket.getaddrinfo
    with saying(answer) as first:

        def later(host, *arguments, **options):
            if host == "localhost":
                wait_for(lambda: not any(each.name == "saying" for each in threading.enumerate()))
            return look_up("127.0.0.1", *arguments, **options)

        monkeypatch.setattr(socket, "getaddrinfo", later)
        urls = [first, receiver.url.replace("127.0.0.1", "localhost")]
        outcomes = asyncio.run(posting.post_all([message(url) for url in urls]))
    assert [outcome.error for outcome in outcomes] == ["", ""]
    assert "cookie" not in receiver.received[0].headers


def test_who_does_not_answer_rests_while_others_are_told(hook, receiver, leader, monkeypatch):
    monkeypatch.setattr(sender, "REST_SHARE", 1_000_000)
    url = f"http://127.0.0.1:{free_port()}/"
    dead = Webhook.objects.create(name="away", url=url, kinds=["key.revoked"])
    for _ in range(20):
        webhooks.ping(dead.pk)
        webhooks.ping(hook.webhook.pk)
    while leader.step():
        pass
    told = Delivery.objects.filter(attempts__gt=0)
    assert told.filter(webhook=hook.webhook, status="delivered").count() == 20
    assert told.filter(webhook=dead).count() == 8


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    made = folder / f"{name}.pem", folder / f"{name}.key"
    subject = ("-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-days", "1", "-nodes")
    options = (
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-keyout",
        made[1],
        "-out",
        made[0],
    )
    subprocess.run(["openssl", "req", "-x509", *options, *subject], check=True, capture_output=True)  # noqa: S607
    return made


def test_tls_is_verified_by_the_name_though_the_connection_goes_to_an_address(tmp_path, monkeypatch):
    ours, others = certificate(tmp_path, "localhost"), certificate(tmp_path, "example.com")
    believed = tmp_path / "believed.pem"
    believed.write_bytes(ours[0].read_bytes() + others[0].read_bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(believed))
    posting._certificates.cache_clear()
    try:
        with receiving(ours) as receiver:
            assert attempt(receiver.url).error == ""
        with receiving(others) as receiver:
            assert "CERTIFICATE_VERIFY_FAILED" in attempt(receiver.url).error
            assert receiver.received == []
    finally:
        posting._certificates.cache_clear()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://example.com/a?b=c", None),
        ("https://192.0.2.1.example.com:8443/", None),
        ("https://1.1.1.1/", None),
        ("http://example.com/", "Use https"),
        ("http://10.0.0.1/", "Use https"),
        ("ftp://example.com/", "Expected an address"),
        ("HTTPS://example.com/", "Expected an address"),
        ("https:///hooks", "Expected an address"),
        ("https://exämple.com/", "Expected an address"),
        ("https://example.com/a b", "Expected an address"),
        ("https://example.com:99999/", "no address"),
        ("https://[::1/", "no address"),
        ("https://ada@example.com/", "Leave out user"),
        ("https://example.com/#part", "Leave out user"),
        ("http://127.0.0.1:8000/", "not public"),
        ("http://localhost/", "not public"),
        ("https://10.1.2.3/", "not public"),
        ("https://169.254.169.254/latest/meta-data/", "not public"),
        ("https://[fe80::1]/", "not public"),
    ],
)
def test_an_address_is_judged_when_it_is_entered(settings, url, said):
    settings.WEBHOOK_ALLOW_PRIVATE = False
    if said is None:
        addresses.check(url)
        return
    with pytest.raises(addresses.RefusedError, match=said):
        addresses.check(url)


def test_only_the_open_internet_is_public():
    public = ["1.1.1.1", "2606:4700::1", "64:ff9b::101:101"]
    private = ["10.0.0.1", "172.16.0.1", "192.168.0.1", "127.0.0.1", "0.0.0.0", "169.254.169.254"]  # noqa: S104
    private += ["100.64.0.1", "100.100.100.200", "168.63.129.16", "224.0.0.1", "255.255.255.255", "::", "::1"]
    private += ["fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:10.0.0.1", "::ffff:169.254.169.254"]
    private += ["fec0::1", "::7f00:1", "::a00:1", "4000::1", "5f00::1"]
    private += ["64:ff9b::a00:1", "64:ff9b::a9fe:a9fe", "2002:a00:1::", "192.0.2.1", "2001:db8::1"]
    assert [text for text in public + private if addresses.is_public(ip_address(text))] == public


def test_nothing_is_sent_to_where_a_name_leads_inside(settings, receiver):
    """The form knows the name only; where it leads is judged at each attempt."""
    settings.WEBHOOK_ALLOW_PRIVATE = False
    https = receiver.url.replace("http://127.0.0.1", "https://localhost")
    for url in (receiver.url, receiver.url.replace("127.0.0.1", "localhost"), https):
        assert "not public" in attempt(url).error, url
    with pytest.raises(addresses.RefusedError, match=r"localhost leads to .*, which is not public"):
        asyncio.run(addresses.resolve("localhost", 80))
    assert receiver.received == []


def test_one_sender_works_and_another_takes_over(committed, monkeypatch):
    monkeypatch.setattr(sender, "POLL_SECONDS", 0.02)
    stop, second = threading.Event(), sender.Sender()
    assert sender.Sender().lead()

    def send():
        try:
            second.send_forever(stop)
        finally:
            connection.close()

    thread = threading.Thread(target=send)
    thread.start()
    try:
        wait_for(lambda: _asking() == 1)
        [held] = _leaders()
        connection.close()
        wait_for(lambda: _leaders() not in ([], [held]))
        # Its connection is cut: it makes another, and leads again.
        [held] = _leaders()
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", [held])
        wait_for(lambda: _leaders() not in ([], [held]))
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()
    wait_for(lambda: not _leaders())
    assert sender.Sender().lead()


def _leaders() -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        return [pid for (pid,) in cursor.fetchall()]


def _asking() -> int:
    """How many other sessions have asked for the lock."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND query LIKE '%pg_try_advisory_lock%'"
        )
        return cursor.fetchone()[0]


def test_the_command_sends_what_is_due_and_ends(hook, receiver, settings, leader):
    webhooks.ping(hook.webhook.pk)
    call_command("send_notices")
    assert len(receiver.received) == 1
    settings.WEBHOOK_SECRET_KEY = None
    with pytest.raises(CommandError, match="WEBHOOK_SECRET_KEY is not set"):
        call_command("send_notices")


def test_metrics_tell_what_waits(hook, receiver, leader):
    def metrics():
        lines = Client().get("/metrics/notices").text.splitlines()
        return {
            name: float(value)
            for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")
        }

    def states():
        return [metrics()[f'notice_deliveries{{state="{state}"}}'] for state in ("new", "retried", "dead")]

    assert (states(), metrics()["notice_delivery_overdue_seconds"]) == ([0, 0, 0], 0)
    for _ in range(3):
        webhooks.ping(hook.webhook.pk)
    first, second, third = Delivery.objects.order_by("pk")
    Delivery.objects.filter(pk=first.pk).update(next_attempt_at=timezone.now() - timedelta(seconds=90))
    Delivery.objects.filter(pk=second.pk).update(attempts=3)
    Delivery.objects.filter(pk=third.pk).update(status="dead")
    assert states() == [1, 1, 1]
    assert 90 <= metrics()["notice_delivery_overdue_seconds"] < 120
    Webhook.objects.update(is_active=False)  # what waits for it is meant to
    assert (states(), metrics()["notice_delivery_overdue_seconds"]) == ([0, 0, 1], 0)

"""The sender as a process: what it is told by whom, and what a crash in the midst of it leaves."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from tests.receiver import receiving
from tests.servers import PROJECT, execute
from tests.waiting import wait_for


@pytest.fixture
def receiver(database):
    """A receiver, and a webhook that leads to it."""
    with receiving() as receiver:
        database.sql(
            "INSERT INTO webhook (name, url, kinds) VALUES ('test', %s, ARRAY['key.revoked', 'key.rotated'])",
            receiver.url,
        )
        yield receiver


@pytest.fixture
def start(database, tmp_path):
    """Start a sender, any number of times; what it says is in a file."""
    environment = os.environ | {"DATABASE_URL": database.owner_url, "WEBHOOK_ALLOW_PRIVATE": "true"}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    senders = []

    def start():
        with (tmp_path / "sender.log").open("ab") as log:
            sender = subprocess.Popen(
                [sys.executable, "manage.py", "send_notices", "--forever"],
                cwd=PROJECT / "django-admin",
                env=environment,
                stdout=log,
                stderr=log,
            )
        senders.append(sender)
        return sender

    yield start
    for sender in senders:
        if sender.poll() is None:
            sender.kill()
            sender.wait()


def issue(database, number, replaces=None):
    """A key, made as the API's role does."""
    [(key_id,)] = execute(
        database.api_url,
        "INSERT INTO api_key (name, hint, digest, tier_id, replaces_id)"
        " VALUES ('key', 'hint', sha256(%s), 1, %s) RETURNING id",
        str(number).encode(),
        replaces,
    )
    return key_id


def test_the_sender_comes_back_with_postgresql(database, receiver, start, tmp_path):
    """It goes away while an attempt is under way, whose end so cannot be written down."""
    sender, said = start(), tmp_path / "sender.log"
    back = threading.Event()
    receiver.answer = lambda _: (back.wait(30), (200, b""))[1]
    key = issue(database, 1)
    execute(database.api_url, "UPDATE api_key SET revoked_at = now() WHERE id = %s", key)
    wait_for(lambda: receiver.received, 20)
    with database.away():
        back.set()
        wait_for(lambda: said.read_text().count("notices_not_sent") >= 2, 20)
    wait_for(lambda: database.sql("SELECT status FROM delivery") == [("delivered",)], 20)
    assert sender.poll() is None
    assert len(receiver.ids) >= 2
    assert len(set(receiver.ids)) == 1
    assert "Traceback" not in said.read_text()


def test_a_crash_between_sending_and_writing_down_sends_again_under_the_same_id(database, receiver, start):
    first = start()

    def crash(_):
        first.kill()
        first.wait()
        return 200, b""

    receiver.answer = crash
    old = issue(database, 1)
    new = issue(database, 2, replaces=old)  # both services do as this role may
    wait_for(lambda: first.poll() is not None, 20)
    assert database.sql("SELECT status, attempts FROM delivery") == [("pending", 0)]

    receiver.answer = lambda _: (200, b"")
    second = start()
    wait_for(lambda: database.sql("SELECT status, attempts FROM delivery") == [("delivered", 1)], 20)
    assert len(receiver.ids) == 2
    assert len(set(receiver.ids)) == 1
    told = json.loads(receiver.received[1].body)
    assert (told["type"], told["data"]["key"]["id"], told["data"]["replaces"]["id"]) == (
        "key.rotated",
        new,
        old,
    )

    # It finishes what is under way before it ends.
    def stop(_):
        second.send_signal(signal.SIGTERM)
        return 200, b""

    receiver.answer = stop
    execute(database.api_url, "UPDATE api_key SET revoked_at = now() WHERE id = %s", new)
    assert second.wait(20) == 0
    assert database.sql("SELECT status FROM delivery") == [("delivered",)] * 2
    assert [json.loads(each.body)["type"] for each in receiver.received[2:]] == ["key.revoked"]

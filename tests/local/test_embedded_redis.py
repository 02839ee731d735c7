"""The embedded Redis asks for its password, keeps what it should, and is back after any end."""

import contextlib
import stat
import time
from pathlib import Path

import pytest
import redis

from local.errors import LocalError
from local.redis import RedisServer


def client(server, **options):
    return redis.Redis.from_url(server.url, decode_responses=True, **options)


def test_survives_a_clean_stop_with_its_data(folder):
    with RedisServer(folder, "secret") as server:
        client(server).set("key", "value")
    with RedisServer(folder, "secret") as server:
        assert client(server).get("key") == "value"


def test_survives_a_crash_on_the_same_port_with_what_is_older_than_a_second(folder):
    with RedisServer(folder, "secret") as server:
        port = server.port
        client(server).set("key", "value")
        time.sleep(1.2)
        server.kill()
        server.start(port=port)
        assert server.port == port
        assert client(server).get("key") == "value"


def test_keeps_nothing_when_it_need_not(folder):
    with RedisServer(folder, "secret", durable=False) as server:
        client(server).set("key", "value")
        server.stop()
        server.start()
        assert client(server).get("key") is None
        assert client(server).config_get("save")["save"] == ""


@pytest.mark.parametrize("password", [None, "wrong"])
def test_nobody_enters_without_the_password(folder, password):
    with RedisServer(folder, "secret", durable=False) as server:
        stranger = redis.Redis(port=server.port, password=password)
        with pytest.raises(redis.AuthenticationError):
            stranger.ping()


def test_a_password_may_hold_any_printable_character_but_a_quote(folder):
    with RedisServer(folder, "a b/c@d:e#f%g?h", durable=False) as server:
        assert client(server).ping()


def test_the_password_is_for_its_owner_only_and_on_no_command_line(folder):
    with RedisServer(folder, "topsecret", durable=False) as server:
        assert stat.S_IMODE((folder / "redis.conf").stat().st_mode) == 0o600
        assert b"topsecret" not in Path(f"/proc/{server.process.pid}/cmdline").read_bytes()
        assert "topsecret" not in server.log.read_text()


def test_full_memory_refuses_writes_and_evicts_nothing(folder):
    with RedisServer(folder, "secret", durable=False, maxmemory="2mb") as server:
        connection = client(server)
        connection.set("first", "kept")
        with contextlib.suppress(redis.OutOfMemoryError):
            for number in range(100):
                connection.set(f"filler:{number}", "x" * 100_000)
        with pytest.raises(redis.OutOfMemoryError):
            connection.set("one more", "x" * 100_000)
        assert connection.get("first") == "kept"


def test_listens_on_this_machine_only(folder):
    with RedisServer(folder, "secret", durable=False) as server:
        assert client(server).config_get("bind")["bind"] == "127.0.0.1"


def test_a_port_in_use_is_said_when_it_was_asked_for(folder):
    with RedisServer(folder / "one", "secret", durable=False) as first:
        second = RedisServer(folder / "two", "secret", durable=False)
        with pytest.raises(LocalError, match="Address already in use"):
            second.start(port=first.port)


def test_a_port_taken_in_between_is_replaced_by_another(folder, monkeypatch):
    with RedisServer(folder / "one", "secret", durable=False) as first:
        ports = iter([first.port, 0])
        free_port = RedisServer.start.__globals__["free_port"]
        monkeypatch.setattr("local.server.free_port", lambda: next(ports) or free_port())
        with RedisServer(folder / "two", "secret", durable=False) as second:
            assert second.port != first.port
            assert client(second).info("server")["process_id"] == second.process.pid


def test_where_there_is_no_redis_it_says_what_to_install(folder, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(LocalError, match="install Redis"):
        RedisServer(folder, "secret").start()


def test_starts_in_a_moment(folder):
    with RedisServer(folder, "secret", durable=False) as server:
        seconds = []
        for _ in range(5):
            server.stop()
            began = time.monotonic()
            server.start()
            seconds.append(time.monotonic() - began)
    assert min(seconds) < 0.1

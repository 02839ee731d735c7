"""`make backup` and `make restore` on the containers, as on a machine that has Python and Docker alone."""

import os
import shlex
import subprocess
import sys

import pytest

from ratelimiter.keys import credentials
from tests.servers import PROJECT
from tests.waiting import wait_for


def run(stack, *command, **variables):
    """Run a command where Compose finds this stack; returns what it printed and what it said."""
    done = subprocess.run(
        command,
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
        | stack.values
        | {"COMPOSE_PROJECT_NAME": stack.project, "STACK": "compose"}
        | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def python(stack, module, *arguments, **variables):
    # -S: without the packages of the virtual environment.
    return run(stack, sys.executable, "-S", "-m", module, *arguments, **variables)


def count(stack, table):
    return int(stack.sql(f"SELECT count(*) FROM {table}")[0][0])  # noqa: S608  # a name of ours


def test_what_was_destroyed_is_back_and_the_platform_goes_on(stack, tmp_path):
    kept, revoked = stack.make_keys(2, burst=50)
    before = count(stack, "request_log")
    assert stack.spend(kept).status_code == stack.spend(revoked).status_code == 200
    wait_for(lambda: count(stack, "request_log") == before + 2)
    printed, _ = python(stack, "local.backup", BACKUP_DIR=str(tmp_path))

    [later] = stack.make_keys(1, burst=50)
    stack.sql(
        f"UPDATE api_key SET revoked_at = now() WHERE hint = '{credentials.hint(revoked)}';"  # noqa: S608  # ours
        "TRUNCATE request_log, usage_hourly"
    )
    _, said = python(stack, "local.restore", printed.splitlines()[-1], YES="1")

    assert count(stack, "request_log") >= before + 2
    wait_for(lambda: stack.spend(kept).status_code == stack.spend(later).status_code == 200)
    assert stack.spend(revoked).status_code == 403
    wait_for(lambda: count(stack, "request_log") >= before + 5)
    wait_for(lambda: stack.is_healthy("django") and stack.is_healthy("fastapi"), 60)
    assert [name for name, secret in stack.secrets.items() if secret in said] == []

    [drop] = [line for line in said.splitlines() if "dropdb" in line]
    run(stack, *shlex.split(drop))
    assert stack.sql("SELECT datname FROM pg_database WHERE datname LIKE 'ratelimiter%'") == [["ratelimiter"]]


@pytest.mark.slow
def test_a_backup_of_the_version_before_is_migrated(stack, tmp_path):
    query = "SELECT name FROM django_migrations WHERE app = 'api_manager' ORDER BY id DESC LIMIT 1"
    [[last]] = stack.sql(query)
    assert last == "0008_audit_event_targets"  # which can be applied twice
    forget = f"DELETE FROM django_migrations WHERE name = '{last}'"  # noqa: S608  # ours
    stack.sql(forget)
    printed, _ = python(stack, "local.backup", BACKUP_DIR=str(tmp_path))
    _, said = python(stack, "local.restore", printed.splitlines()[-1], YES="1")
    assert stack.sql(query) == [[last]]
    [drop] = [line for line in said.splitlines() if "dropdb" in line]
    run(stack, *shlex.split(drop))


@pytest.mark.slow
def test_a_day_is_archived_into_a_folder_of_the_machine(stack, tmp_path):
    stack.sql(
        "INSERT INTO request_log (api_key_id, endpoint, status_code, cost, timestamp)"
        " VALUES (1, '/old', 200, 1, now() - interval '40 days')"
    )
    tmp_path.chmod(0o777)
    archive = ("run", "--rm", "--no-deps", "-T", "--volume", f"{tmp_path}:/archive", "migrate")
    printed = stack.compose(*archive, "python", "manage.py", "archive_requests", "--directory", "/archive")
    names = {path.name for path in tmp_path.iterdir()}
    assert {f"/archive/{name}" for name in names} == set(printed.split())
    [oldest] = sorted(names)[:1]
    assert stack.sql("SELECT request_log_drop_partitions(30, true)") == [["1"]]
    stack.compose(*archive, "python", "manage.py", "load_archive", f"/archive/{oldest}")
    assert stack.sql("SELECT count(*) FROM request_log WHERE endpoint = '/old'") == [["1"]]


@pytest.mark.slow
def test_the_stack_that_runs_is_found(stack, tmp_path):
    printed, said = python(
        stack, "local.backup", STACK="", LOCAL_DIR=str(tmp_path / "none"), BACKUP_DIR=str(tmp_path)
    )
    assert printed.strip().endswith(".dump")
    assert "tiers" in said

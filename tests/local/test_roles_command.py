"""`python -m local.roles` makes the roles that its environment names, or says in one line what is wrong."""

import os
import subprocess
import sys

import pytest

from local.roles import Role
from tests.servers import PROJECT, execute

OWNER = Role("command_owner", "owner-secret")
API = Role("command_api", "api-secret")
NAMES = ("POSTGRES_ADMIN_URL", "DATABASE_URL", "API_DATABASE_URL")


@pytest.fixture
def addresses(postgres):
    urls = (postgres.admin_url, postgres.url("command", OWNER), postgres.url("command", API))
    return dict(zip(NAMES, urls, strict=True))


def run(addresses):
    return subprocess.run(
        [sys.executable, "-m", "local.roles"],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"]} | addresses,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_roles_and_their_database_are_made_and_made_again(postgres, addresses):
    try:
        for said in ("database command made", "database command was there"):
            done = run(addresses)
            assert (done.returncode, done.stdout) == (0, "")
            assert done.stderr == f"Roles command_owner and command_api; {said}.\n"
        execute(addresses["DATABASE_URL"], "CREATE TABLE mine (id int)")
        execute(addresses["API_DATABASE_URL"], "SELECT 1")
    finally:
        for statement in (
            "DATABASE IF EXISTS command",
            *(f"ROLE IF EXISTS {role.name}" for role in (OWNER, API)),
        ):
            execute(postgres.admin_url, f"DROP {statement}")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "value", [None, "", "mysql://u:secret@h/x", "postgresql://u:secret@[h/x", "postgresql://h/x"]
)
def test_a_wrong_address_is_named_and_not_quoted(addresses, name, value):
    del addresses[name]
    done = run(addresses if value is None else addresses | {name: value})
    assert done.returncode == 1
    assert done.stderr.startswith(f"Cannot start: {name}: expected postgresql://user:password@host:port/name")
    assert "secret" not in done.stderr


def test_both_addresses_name_one_database_and_two_roles(postgres, addresses):
    done = run(addresses | {"API_DATABASE_URL": postgres.url("other", API)})
    assert "API_DATABASE_URL: expected the database command" in done.stderr
    done = run(addresses | {"API_DATABASE_URL": addresses["DATABASE_URL"]})
    assert "API_DATABASE_URL: expected another role than command_owner" in done.stderr


def test_a_server_that_refuses_is_told_in_one_line(addresses):
    done = run(addresses | {"POSTGRES_ADMIN_URL": "postgresql://nobody:secret@127.0.0.1:1/postgres"})
    assert done.returncode == 1
    assert done.stderr.startswith("The roles were not made: connection to server")
    assert done.stderr.count("\n") == 1
    assert "secret" not in done.stderr

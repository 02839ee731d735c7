"""The two database roles exist after `provision`, and can do no more than they should."""

import psycopg2
import pytest
from psycopg2 import errors

from local.roles import Role, provision
from tests.servers import execute

OWNER = Role("ratelimiter_owner", 'it\'s "quoted" / 100%')
API = Role("ratelimiter_api", "pässword")


@pytest.fixture
def database(postgres, request):
    name = f"db_{abs(hash(request.node.name))}"
    assert provision(postgres.admin_url, name, OWNER, API) is True
    return name


def test_a_second_call_changes_nothing_but_the_passwords(postgres, database):
    assert provision(postgres.admin_url, database, OWNER, Role(API.name, "new")) is False
    execute(postgres.url(database, OWNER), "SELECT 1")
    execute(postgres.url(database, Role(API.name, "new")), "SELECT 1")
    with pytest.raises(psycopg2.OperationalError, match="password"):
        execute(postgres.url(database, API), "SELECT 1")


def test_the_owner_has_the_schema_but_no_power_over_the_server(postgres, database):
    url = postgres.url(database, OWNER)
    execute(url, "CREATE TABLE mine (id int)")
    for statement in ("CREATE ROLE more", "CREATE DATABASE more", "ALTER SYSTEM SET fsync = off"):
        with pytest.raises(errors.InsufficientPrivilege):
            execute(url, statement)


def test_the_api_connects_and_that_is_all(postgres, database):
    execute(postgres.url(database, OWNER), "CREATE TABLE secret (id int)")
    url = postgres.url(database, API)
    for statement in (
        "SELECT * FROM secret",
        "CREATE TABLE mine (id int)",
        "CREATE TEMP TABLE mine (id int)",
        "CREATE SCHEMA mine",
        "CREATE ROLE more",
        "CREATE DATABASE more",
    ):
        with pytest.raises(errors.InsufficientPrivilege):
            execute(url, statement)


def test_other_roles_may_not_even_connect(postgres, database):
    execute(postgres.admin_url, "CREATE ROLE stranger LOGIN PASSWORD 'x'")
    try:
        with pytest.raises(psycopg2.OperationalError, match="permission denied"):
            execute(postgres.url(database, Role("stranger", "x")), "SELECT 1")
    finally:
        execute(postgres.admin_url, "DROP ROLE stranger")


def test_rights_that_were_given_by_hand_are_taken_back(postgres, database):
    execute(postgres.admin_url, "ALTER ROLE ratelimiter_api SUPERUSER CREATEROLE CREATEDB")
    execute(postgres.admin_url, f"GRANT CREATE ON DATABASE {database} TO ratelimiter_api")
    provision(postgres.admin_url, database, OWNER, API)
    with pytest.raises(errors.InsufficientPrivilege):
        execute(postgres.url(database, API), "CREATE SCHEMA mine")


def test_the_owner_of_a_test_server_may_make_databases(postgres, database):
    provision(postgres.admin_url, database, OWNER, API, createdb=True)
    execute(postgres.url(database, OWNER), f"CREATE DATABASE {database}_copy")
    with pytest.raises(errors.InsufficientPrivilege):
        execute(postgres.url(database, API), "CREATE DATABASE more")


def test_no_password_reaches_the_log_of_the_server(postgres, database):
    execute(postgres.admin_url, "ALTER SYSTEM SET log_statement = 'all'")
    execute(postgres.admin_url, "SELECT pg_reload_conf()")
    try:
        provision(postgres.admin_url, database, Role(OWNER.name, "ownersecret"), Role(API.name, "apisecret"))
        log = postgres.log.read_text()
    finally:
        execute(postgres.admin_url, "ALTER SYSTEM RESET log_statement")
        execute(postgres.admin_url, "SELECT pg_reload_conf()")
    assert "ALTER ROLE" in log
    assert "ownersecret" not in log
    assert "apisecret" not in log

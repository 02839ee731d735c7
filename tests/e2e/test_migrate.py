"""``manage.py migrate`` beside a transaction that holds what it needs."""

import os
import subprocess
import sys
from contextlib import contextmanager

import psycopg2
import pytest

from api_manager.management.commands.migrate import LOCK_TIMEOUT_SECONDS
from tests.load import Load
from tests.servers import PROJECT
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(120)

MIGRATION = """
from django.db import migrations

class Migration(migrations.Migration):
    atomic = {atomic}
    dependencies = [("api_manager", "__first__")]
    operations = [migrations.RunSQL({statement!r})]
"""
ADD_COLUMN = "ALTER TABLE request_log ADD COLUMN note text"
HAS_COLUMN = (
    "SELECT 1 FROM information_schema.columns WHERE (table_name, column_name) = ('request_log', 'note')"
)
APPLIED = "SELECT name FROM django_migrations WHERE app = 'next_version'"


@pytest.fixture
def migrate(database, tmp_path):
    """Start a migration of the database to a version that has one migration more."""
    processes = []

    def start_migrate(statement, *arguments, atomic=True):
        folder = tmp_path / "next_version" / "migrations"
        folder.mkdir(parents=True, exist_ok=True)
        for package in (folder, folder.parent):
            (package / "__init__.py").touch()
        (folder / "0001_next.py").write_text(MIGRATION.format(atomic=atomic, statement=statement))
        (tmp_path / "next_settings.py").write_text(
            "from config.settings import *\nINSTALLED_APPS = [*INSTALLED_APPS, 'next_version']\n"
        )
        process = subprocess.Popen(
            [sys.executable, "manage.py", "migrate", *arguments],
            cwd=PROJECT / "django-admin",
            env=os.environ
            | {"DATABASE_URL": database.owner_url, "PYTHONPATH": str(tmp_path), "PYTHONUNBUFFERED": "1"}
            | {"DJANGO_SETTINGS_MODULE": "next_settings"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start_migrate
    for process in processes:
        process.kill()
        process.communicate()


@contextmanager
def transaction(database, statement):
    """A transaction of the owner's that stays open meanwhile; yields the process id of its session."""
    connection = psycopg2.connect(database.owner_url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
        yield connection.info.backend_pid
    finally:
        connection.close()


def test_a_long_transaction_holds_up_the_migration_but_no_request_and_no_row(migrate, start, database):
    server = start(DECISION_TIMEOUT_SECONDS="5")
    load = Load(server.url, server.key)
    rows = "SELECT coalesce(sum(count), 0) FROM request_log"
    with load.running():
        load.go_on()
        with transaction(database, "SELECT 1 FROM request_log LIMIT 1"):
            process = migrate(ADD_COLUMN)
            assert "Attempt 2 of 10" in process.stderr.readline()
            answered = load.decisions.total()
            wait_for(lambda: database.sql(rows)[0][0] >= answered, seconds=30)
            assert "Attempt 3 of 10" in process.stderr.readline()
            load.go_on()
            assert process.poll() is None
            assert database.sql(HAS_COLUMN) == []
        assert process.wait(60) == 0
        load.go_on()

    assert database.sql(HAS_COLUMN) == [(1,)]
    assert set(load.decisions) <= {200, 429}, load.decisions
    assert set(load.management) == {201, 204}, load.management
    assert load.slowest_seconds < LOCK_TIMEOUT_SECONDS
    wait_for(lambda: database.sql(rows)[0][0] == load.decisions.total(), seconds=30)


def test_it_gives_up_names_who_is_in_the_way_and_has_changed_nothing(migrate, database):
    limits = ("--lock-timeout", "0.2", "--attempts", "2")
    with transaction(database, "SELECT 1 FROM request_log LIMIT 1") as pid:
        process = migrate(f"CREATE TABLE unused (); {ADD_COLUMN}", *limits)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 1
    waiting, given_up = said.splitlines()
    failed = (
        "next_version.0001_next did not get its locks within 0.2 s; locks are held by"
        f" process {pid} (ratelimiter_owner) on request_log"
    )
    assert waiting.startswith(failed)
    assert waiting.endswith("Attempt 2 of 2 in 1 s.")
    assert given_up.startswith(f"CommandError: {failed}")
    assert "Given up after 2 attempt(s); it has changed nothing." in given_up
    assert database.sql(APPLIED) == database.sql(HAS_COLUMN) == []
    assert database.sql("SELECT to_regclass('unused')") == [(None,)]

    again = migrate(ADD_COLUMN, *limits)
    again.communicate(timeout=60)
    assert again.returncode == 0
    assert database.sql(HAS_COLUMN) == [(1,)]


def test_a_migration_that_is_not_atomic_waits_as_long_as_it_takes(migrate, database):
    waiting = (
        "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%%'"
        " AND wait_event_type = 'Lock'"
        " AND query_start < clock_timestamp() - interval '1 second' AND datname = current_database()"
    )
    with transaction(database, "UPDATE api_key SET name = name WHERE false"):
        process = migrate(
            "CREATE INDEX CONCURRENTLY note_idx ON api_key (name)", "--lock-timeout", "0.1", atomic=False
        )
        wait_for(lambda: database.sql(waiting) or process.poll() is not None, seconds=30)
        assert process.poll() is None, process.stderr.read()
    assert process.wait(30) == 0
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'note_idx'::regclass"
    assert database.sql(valid) == [(True,)]


def test_other_errors_of_the_database_are_not_tried_again(migrate, database):
    process = migrate("SELECT set_config('statement_timeout', '100ms', true); SELECT pg_sleep(5)")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said == "django-admin: the database: canceling statement due to statement timeout\n"
    assert database.sql(APPLIED) == []


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--lock-timeout", "0", "expected a number of seconds above 0"),
        ("--lock-timeout", "nan", "expected a number of seconds above 0"),
        ("--attempts", "0", "expected a whole number from 1"),
        ("--attempts", "many", "invalid _times value: 'many'"),
    ],
)
def test_limits_that_make_no_sense_are_refused(migrate, option, value, expected):
    process = migrate("SELECT 1", option, value)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert f"argument {option}: {expected}" in said

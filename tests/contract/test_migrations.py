"""Migrations that let the old version go on: no long lock, and nothing taken away that it reads or writes.

squawk knows which statements lock a table for as long as it is read, and which break a running client.
Where one is right all the same, its SQL says so and why: ``-- squawk-ignore <rule>`` on the line before.
"""

import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db.migrations.loader import MigrationLoader

from tests.servers import PROJECT

SQUAWK = Path(sys.executable).with_name("squawk")
SQL = PROJECT / "django-admin" / "api_manager" / "migrations" / "sql"
FIRST = 7  # those before came with the first version: nothing ran beside them
NOT_ASKED = {
    "ban-drop-constraint": "what clients did they still may, and it takes no time",
    "prefer-bigint-over-int": "the models choose the type",
    "prefer-bigint-over-smallint": "the same",
    "prefer-robust-stmts": "a migration runs whole or not at all",
    "prefer-text-field": "a CharField is a varchar; changing-column-type guards what is there",
    "require-lock-timeout": "manage.py migrate sets it",
    "require-statement-timeout": "moving data takes the time it takes",
}


def complaints(sql):
    """The rules that a migration's SQL breaks."""
    done = subprocess.run(
        [SQUAWK, "--reporter=gcc", "--pg-version=15", f"--exclude={','.join(NOT_ASKED)}"],
        input=sql,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return re.findall(r"^stdin:.*: (?:warning|error): (\S+)", done.stdout, re.MULTILINE)


def in_transaction(sql):
    """As a migration runs it."""
    return f"BEGIN;\n{sql};\nCOMMIT;"


def number(name):
    return int(name[:4])


@pytest.mark.django_db
def test_migrations_lock_no_table_for_long_and_break_no_running_client():
    names = sorted(name for app, name in MigrationLoader(None).graph.nodes if app == "api_manager")
    found = {}
    for name in names:
        if number(name) >= FIRST:
            out = StringIO()
            call_command("sqlmigrate", "api_manager", name, stdout=out, no_color=True)
            found[name] = complaints(out.getvalue())
    # What RunPython executes is not in sqlmigrate's output.
    for file in sorted(SQL.glob("*.sql")):
        if number(file.name) >= FIRST:
            sql = file.read_text(encoding="utf-8").replace("{role}", "api_role")
            found[file.name] = complaints(in_transaction(sql))
    assert {name: rules for name, rules in found.items() if rules} == {}


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("CREATE INDEX i ON request_log (cost)", "require-concurrent-index-creation"),
        ("DROP INDEX request_log_timestamp_idx", "require-concurrent-index-deletion"),
        ("ALTER TABLE request_log ADD CHECK (cost < 9)", "constraint-missing-not-valid"),
        ("ALTER TABLE request_log ADD COLUMN c text NOT NULL", "adding-required-field"),
        ("ALTER TABLE request_log ADD COLUMN c float DEFAULT random()", "adding-field-with-default"),
        ("ALTER TABLE request_log ALTER COLUMN cost TYPE numeric", "changing-column-type"),
        ("ALTER TABLE request_log ALTER COLUMN remaining SET NOT NULL", "adding-not-nullable-field"),
        (
            "ALTER TABLE request_log DETACH PARTITION request_log_default",
            "require-concurrent-partition-detach",
        ),
        ("ALTER TABLE api_key ADD UNIQUE (name)", "disallowed-unique-constraint"),
        ("ALTER TABLE api_key DROP COLUMN owner_email", "ban-drop-column"),
        ("ALTER TABLE api_key RENAME COLUMN owner_email TO owner", "renaming-column"),
        ("DROP TABLE key_activity", "ban-drop-table"),
    ],
)
def test_what_would_stop_the_old_version_is_seen(sql, rule):
    assert rule in complaints(in_transaction(sql))


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE request_log ADD COLUMN note text",
        "ALTER TABLE request_log ADD COLUMN note text DEFAULT '' NOT NULL",
        "ALTER TABLE api_key ADD CONSTRAINT c CHECK (name <> '-') NOT VALID",
        "-- squawk-ignore require-concurrent-index-creation\nCREATE INDEX i ON ONLY request_log (cost)",
        'CREATE TABLE "plan" ("id" bigint PRIMARY KEY); CREATE INDEX i ON "plan" ("id")',
    ],
)
def test_what_lets_it_go_on_is_not_complained_of(sql):
    assert complaints(in_transaction(sql)) == []

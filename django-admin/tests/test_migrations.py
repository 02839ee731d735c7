from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection


def remains() -> list[str]:
    """Tables, sequences, functions and triggers of ours."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            " AND relkind IN ('r', 'p', 'S') AND relname !~ '^(django|auth)_'"
            " UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        )
        return sorted(row[0] for row in cursor.fetchall())


def test_migrations_go_back_to_nothing_and_forth_again(empty_database):
    call_command("migrate", verbosity=0)
    whole = remains()
    assert {"api_key", "request_log", "request_log_default", "guard_api_key"} <= set(whole)
    call_command("migrate", "api_manager", "zero", verbosity=0)
    assert remains() == []
    call_command("migrate", verbosity=0)
    assert remains() == whole


def test_going_back_before_the_chains_news_brings_the_function_of_0003_back(empty_database):
    def definition() -> str:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_get_functiondef('notify_key_news'::regproc)")
            return cursor.fetchone()[0]

    call_command("migrate", "api_manager", "0005", verbosity=0)
    before = definition()
    call_command("migrate", verbosity=0)
    after = definition()
    assert after != before
    call_command("migrate", "api_manager", "0005", verbosity=0)
    assert definition() == before
    call_command("migrate", verbosity=0)
    assert definition() == after


@pytest.mark.django_db
def test_the_models_have_no_change_that_a_migration_lacks():
    call_command("makemigrations", "--check", "--dry-run", stdout=StringIO())

from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection


def remains() -> list[str]:
    """Tables, sequences, functions and triggers of ours."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            " AND relkind IN ('r', 'p', 'S') AND relname !~ '^(django|auth|axes|otp)_'"
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


def test_the_roll_ups_begin_with_what_the_hours_tell(empty_database):
    call_command("migrate", "api_manager", "0013", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO usage_hourly (hour, api_key_id, endpoint, allowed, limited, cost) VALUES"
            " ('2026-03-01 23:00Z', 1, '/a', 1, 2, 3), ('2026-03-01 22:00Z', 1, '/a', 10, 20, 30),"
            " ('2026-03-02 00:00Z', 1, '/b', 5, 5, 5), ('2026-03-01 23:00Z', 2, '/a', 100, 200, 300)"
        )
        cursor.execute(
            "INSERT INTO usage_hourly (hour, api_key_id, endpoint, allowed)"
            " SELECT '2026-03-05 00:00Z', 1, '/' || n, n FROM generate_series(1, 103) AS n"
        )
        call_command("migrate", verbosity=0)
        cursor.execute("SELECT day::text, api_key_id, allowed, limited, cost FROM usage_daily ORDER BY 1, 2")
        assert cursor.fetchall() == [
            ("2026-03-01", 1, 11, 22, 33),
            ("2026-03-01", 2, 100, 200, 300),
            ("2026-03-02", 1, 5, 5, 5),
            ("2026-03-05", 1, 103 * 104 // 2, 0, 0),
        ]
        cursor.execute(
            "SELECT hour, endpoint, allowed, limited, cost FROM endpoint_hourly"
            " WHERE hour < '2026-03-05Z' ORDER BY 1"
        )
        assert [row[1:] for row in cursor.fetchall()] == [
            ("/a", 10, 20, 30),
            ("/a", 101, 202, 303),
            ("/b", 5, 5, 5),
        ]
        cursor.execute("SELECT count(*) FROM endpoint_hourly WHERE hour = '2026-03-05Z'")
        assert cursor.fetchone() == (101,)
        cursor.execute("SELECT allowed FROM endpoint_hourly WHERE endpoint = '(other)'")
        assert cursor.fetchone() == (1 + 2 + 3,)


@pytest.mark.django_db
def test_the_models_have_no_change_that_a_migration_lacks():
    call_command("makemigrations", "--check", "--dry-run", stdout=StringIO())

from datetime import UTC, datetime, timedelta

import pytest
from django.db import InternalError, connection, transaction

from api_manager.models import RequestLog
from tests.partitions import logged_days


def call(function: str, days: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {function}(%s)", [days])
        return cursor.fetchone()[0]


def tables() -> dict[int, str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, tableoid::regclass::text FROM request_log")
        return dict(cursor.fetchall())


def log(days_ahead: int) -> int:
    moment = datetime.now(UTC) + timedelta(days=days_ahead)
    row = RequestLog.objects.create(api_key_id=1, endpoint="/", status_code=200, cost=1, timestamp=moment)
    return row.pk


def test_partitions_are_made_ahead_once(db):
    assert call("request_log_add_partitions", 7) == 0
    assert call("request_log_add_partitions", 9) == 2
    assert call("request_log_add_partitions", 9) == 0
    row = log(9)
    assert tables()[row] == f"request_log_{datetime.now(UTC) + timedelta(days=9):%Y%m%d}"


def test_a_row_without_a_partition_is_kept_and_moved_when_there_is_one(db):
    row, later = log(10), log(20)
    assert tables() == {row: "request_log_default", later: "request_log_default"}
    call("request_log_add_partitions", 10)
    assert tables() == {
        row: f"request_log_{datetime.now(UTC) + timedelta(days=10):%Y%m%d}",
        later: "request_log_default",
    }


def test_old_partitions_and_old_rows_are_dropped(db):
    old, yesterday, today = log(-3), log(-1), log(0)
    assert call("request_log_drop_partitions", 2) == 0
    assert set(tables()) == {yesterday, today}
    assert old not in tables()
    assert call("request_log_drop_partitions", 1) == 0
    with connection.cursor() as cursor:
        day = datetime.now(UTC).date() - timedelta(days=5)
        cursor.execute(
            f"CREATE TABLE request_log_{day:%Y%m%d} PARTITION OF request_log"
            f" FOR VALUES FROM ('{day}') TO ('{day + timedelta(days=1)}')"
        )
    log(-5)
    assert logged_days()[-1] == day
    assert call("request_log_drop_partitions", 4) == 1
    assert set(tables()) == {yesterday, today}


@pytest.mark.parametrize(
    ("function", "days"),
    [
        ("request_log_add_partitions", -1),
        ("request_log_add_partitions", 367),
        ("request_log_drop_partitions", 0),
        ("request_log_drop_partitions", -1),
    ],
)
def test_senseless_numbers_are_refused(db, function, days):
    with pytest.raises(InternalError, match=f"not {days}"), transaction.atomic():
        call(function, days)


def test_the_days_shown_are_the_partitions_up_to_today(db):
    today = datetime.now(UTC).date()
    assert logged_days() == [today, today - timedelta(days=1)]

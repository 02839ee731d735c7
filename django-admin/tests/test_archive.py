import csv
import gzip
import hashlib
import stat
from datetime import UTC, date, datetime, time, timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from api_manager import archive
from api_manager.models import RequestLog, RequestLogArchive, UsageHourly

TODAY = datetime.now(UTC).date()
OLD = TODAY - timedelta(days=40)
NEWER = TODAY - timedelta(days=3)


@pytest.fixture(autouse=True)
def _database(db):
    """Everything here happens in the database, and is rolled back."""


def add_partition(day: date) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TABLE request_log_{day:%Y%m%d} PARTITION OF request_log"
            f" FOR VALUES FROM ('{day}Z') TO ('{day + timedelta(days=1)}Z')"
        )


def log(day: date, **fields) -> RequestLog:
    moment = datetime.combine(day, fields.pop("at", time(12, 30, 0, 123456)), UTC)
    values = {"api_key_id": 7, "endpoint": "/v1/orders", "status_code": 200, "cost": 1, "timestamp": moment}
    return RequestLog.objects.create(**values | fields)


def fill(day: date) -> None:
    add_partition(day)
    log(day, at=time(0), remaining=3, client_ip="198.51.100.7")
    log(day, endpoint='/a,"b"\n\\N é', client_ip="2001:db8::1")
    log(day, at=time(23, 59, 59, 999999), status_code=429, count=12, remaining=0)


def rows(day: date) -> list[tuple]:
    return list(RequestLog.objects.filter(timestamp__date=day).order_by("id").values_list())


def drop(days: int, *, archived_only: bool = True) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT request_log_drop_partitions(%s, %s)", [days, archived_only])
        return cursor.fetchone()[0]


def archive_requests(folder: Path, *arguments: str) -> list[Path]:
    out = StringIO()
    call_command("archive_requests", "--directory", str(folder), *arguments, stdout=out, stderr=StringIO())
    return [Path(line) for line in out.getvalue().splitlines()]


def load_archive(path: Path, *arguments: str) -> str:
    call_command("load_archive", str(path), *arguments, stderr=(err := StringIO()))
    return err.getvalue()


def repack(path: Path, text: str) -> None:
    path.write_bytes(gzip.compress(text.encode()))


def test_a_day_is_written_dropped_and_loaded_back_as_it_was(tmp_path):
    fill(OLD)
    before = rows(OLD)
    written = archive_requests(tmp_path)
    path = tmp_path / f"request_log-{OLD}.csv.gz"
    assert path in written
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    note = RequestLogArchive.objects.get(day=OLD)
    assert (note.rows, note.sha256) == (3, hashlib.sha256(path.read_bytes()).hexdigest())
    assert drop(30) == 1
    assert rows(OLD) == []

    said = load_archive(path)
    assert f"{OLD}: 3 rows are back" in said
    assert rows(OLD) == before
    assert UsageHourly.objects.count() == 0


def test_the_file_is_csv_that_others_can_read(tmp_path):
    fill(OLD)
    archive_requests(tmp_path)
    with gzip.open(tmp_path / f"request_log-{OLD}.csv.gz", "rt", encoding="utf-8", newline="") as file:
        heading, first, second, third = csv.reader(file)
    assert tuple(heading) == archive.COLUMNS
    assert dict(zip(heading, first, strict=True))["timestamp"] == f"{OLD} 00:00:00+00"
    assert second[2] == '/a,"b"\n\\N é'
    assert third[-5:] == ["12", "", f"{OLD} 23:59:59.999999+00", "", "{}"]


def test_today_is_left_out_and_what_is_archived_is_not_written_twice(tmp_path):
    fill(OLD)
    log(TODAY)
    first = archive_requests(tmp_path)
    assert f"request_log-{TODAY}.csv.gz" not in {path.name for path in first}
    assert archive_requests(tmp_path) == []
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in first}


def test_before_leaves_later_days_for_another_time(tmp_path):
    fill(OLD)
    fill(NEWER)
    assert [path.name for path in archive_requests(tmp_path, "--before", str(NEWER))] == [
        f"request_log-{OLD}.csv.gz"
    ]


def test_the_same_rows_make_the_same_file(tmp_path):
    fill(OLD)
    first, second = tmp_path / "1", tmp_path / "2"
    for folder in (first, second):
        folder.mkdir()
        RequestLogArchive.objects.all().delete()
        archive_requests(folder, "--before", str(NEWER))
    name = f"request_log-{OLD}.csv.gz"
    assert (first / name).read_bytes() == (second / name).read_bytes()


def test_rows_that_never_got_a_partition_are_archived_and_dropped_too(tmp_path):
    log(OLD)
    assert drop(30) == 0
    assert len(rows(OLD)) == 1
    archive_requests(tmp_path)
    assert drop(30) == 1
    assert rows(OLD) == []
    load_archive(tmp_path / f"request_log-{OLD}.csv.gz")
    assert len(rows(OLD)) == 1


def test_retention_waits_for_the_archive_only_where_it_is_told_to():
    fill(OLD)
    assert drop(30, archived_only=True) == 0
    assert len(rows(OLD)) == 3
    assert drop(30, archived_only=False) == 1
    assert rows(OLD) == []


def test_a_day_that_got_rows_after_its_archive_is_kept_and_archived_again(tmp_path):
    fill(OLD)
    archive_requests(tmp_path)
    log(OLD, endpoint="/late")
    assert drop(30) == 0
    assert len(rows(OLD)) == 4
    [path] = archive_requests(tmp_path)
    assert gzip.decompress(path.read_bytes()).count(b"/late") == 1
    assert drop(30) == 1


def test_a_day_that_was_loaded_back_stays_for_as_long_as_was_said(tmp_path):
    fill(OLD)
    archive_requests(tmp_path)
    drop(30)
    load_archive(tmp_path / f"request_log-{OLD}.csv.gz", "--keep-days", "2")
    assert drop(30) == drop(30, archived_only=False) == 0
    assert len(rows(OLD)) == 3
    RequestLogArchive.objects.update(kept_until=datetime.now(UTC) - timedelta(seconds=1))
    assert drop(30) == 1


def test_new_rows_are_numbered_past_those_that_were_loaded(tmp_path):
    fill(OLD)
    highest = rows(OLD)[-1][0]
    archive_requests(tmp_path)
    drop(30)
    with connection.cursor() as cursor:
        cursor.execute("ALTER SEQUENCE request_log_id_seq RESTART")
    load_archive(tmp_path / f"request_log-{OLD}.csv.gz")
    assert log(TODAY).pk == highest + 1


def test_a_file_that_this_database_never_wrote_is_taken_and_noted_down(tmp_path):
    fill(OLD)
    archive_requests(tmp_path)
    drop(30)
    RequestLogArchive.objects.all().delete()
    path = tmp_path / f"request_log-{OLD}.csv.gz"
    load_archive(path)
    note = RequestLogArchive.objects.get()
    assert (note.rows, note.sha256) == (3, hashlib.sha256(path.read_bytes()).hexdigest())


def test_a_day_with_rows_is_not_loaded(tmp_path):
    fill(OLD)
    archive_requests(tmp_path)
    before = rows(OLD)
    with pytest.raises(CommandError, match=f"has rows of {OLD} already"):
        load_archive(tmp_path / f"request_log-{OLD}.csv.gz")
    assert rows(OLD) == before


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-20]), "is damaged"),
        (lambda path: path.write_bytes(b"id,api_key_id"), "is damaged"),
        (lambda path: repack(path, "id,password\n1,2\n"), "names columns of the log"),
        (lambda path: repack(path, "id,endpoint\n1,/x\n"), "does not fit the log"),
        (
            lambda path: repack(path, f"{','.join(archive.COLUMNS)}\n1,2,/x,200,1,,1,,2020-01-01Z\n"),
            "not fit",
        ),
        (lambda path: repack(path, f"{','.join(archive.COLUMNS)}\n1,2,/x,200,1,,1,,soon\n"), "not fit"),
    ],
)
def test_a_file_that_is_no_archive_changes_nothing(tmp_path, spoil, message):
    fill(OLD)
    archive_requests(tmp_path)
    drop(30)
    RequestLogArchive.objects.all().delete()
    path = tmp_path / f"request_log-{OLD}.csv.gz"
    spoil(path)
    with pytest.raises(CommandError, match=message), transaction.atomic():
        load_archive(path)
    assert rows(OLD) == []
    assert not RequestLogArchive.objects.exists()
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s)", [f"request_log_{OLD:%Y%m%d}"])
        assert cursor.fetchone() == (None,)


def test_a_file_that_was_changed_since_is_refused(tmp_path):
    fill(OLD)
    archive_requests(tmp_path)
    drop(30)
    path = tmp_path / f"request_log-{OLD}.csv.gz"
    repack(path, gzip.decompress(path.read_bytes()).decode().replace("200", "403"))
    with pytest.raises(CommandError, match="is not the file that was archived"):
        load_archive(path)
    assert rows(OLD) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("archive_requests", "--directory", "/nowhere"), "--directory: /nowhere is no folder"),
        (("archive_requests", "--directory", ".", "--before", "soon"), "no day; expected one such as"),
        (("archive_requests", "--directory", ".", "--before", "9999-12-31"), "lies ahead"),
        (("load_archive", "log.csv.gz"), "no archive's name"),
        (("load_archive", "/nowhere/request_log-2020-01-01.csv.gz"), "No such file"),
        (("load_archive", "x", "--keep-days", "0"), "from 1 to 3650"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(CommandError, match=message):
        call_command(*arguments, stderr=StringIO())


def test_a_folder_that_cannot_be_written_leaves_no_file_and_no_note(tmp_path):
    fill(OLD)
    (tmp_path / f"request_log-{OLD}.csv.gz").mkdir()
    with pytest.raises(CommandError, match=f"{OLD} was not archived"):
        archive_requests(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"request_log-{OLD}.csv.gz"]
    assert not RequestLogArchive.objects.filter(day=OLD).exists()


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_how_far_it_is(tmp_path):
    fill(OLD)
    call_command(
        "archive_requests", "--directory", str(tmp_path), stdout=StringIO(), stderr=(err := Terminal())
    )
    assert f"{OLD} (1 of " in err.getvalue()
    assert "MB" in err.getvalue()

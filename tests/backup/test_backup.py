"""`make backup`: one file, whole, and one view of the database."""

import re
import stat
import threading

import psycopg2
import pytest

from local.errors import LocalError
from tests.waiting import wait_for


def test_a_backup_is_one_file_that_only_its_owner_can_read(platform, tmp_path):
    platform.issue("one")
    platform.issue("two", revoked_at="2026-01-01Z")
    platform.log(1, 5)
    folder = tmp_path / "backups"
    path = platform.backup(folder)
    assert re.fullmatch(r"ratelimiter-\d{8}T\d{6}Z\.dump", path.name)
    assert list(folder.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert "2 keys (1 revoked), 4 tiers, 5 rows of the log" in platform.said[-1]


def test_a_backup_that_fails_leaves_no_file(platform, tmp_path):
    platform.stack.database = "none"
    with pytest.raises(LocalError, match='database "none" does not exist'):
        platform.backup(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_cursor_and_the_rows_of_a_backup_agree_while_rows_come(platform, tmp_path):
    platform.sql("INSERT INTO drain_cursor (shard, position) VALUES (0, 0)")
    stop = threading.Event()

    def write():
        connection = psycopg2.connect(platform.url())
        while not stop.is_set():
            with connection, connection.cursor() as cursor:
                cursor.execute(
                    "INSERT INTO request_log (api_key_id, endpoint, status_code, cost, timestamp)"
                    " VALUES (1, '/x', 200, 1, now()); UPDATE drain_cursor SET position = position + 1"
                )
        connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        wait_for(lambda: platform.sql("SELECT position > 20 FROM drain_cursor") == [(True,)])
        path = platform.backup(tmp_path)
    finally:
        stop.set()
        writer.join()
    said = platform.said[-1]
    [(total,)] = platform.sql("SELECT count(*) FROM request_log")
    platform.restore(path)
    [(rows, position)] = platform.sql("SELECT (SELECT count(*) FROM request_log), position FROM drain_cursor")
    assert 20 < rows == position <= total
    assert f" {rows} rows of the log" in said

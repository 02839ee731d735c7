"""No line of error is passed over, but for those that the fault of the moment explains."""

import json

import pytest

from .errors import Log, judged, of_postgres, of_redis, of_the_api


@pytest.mark.parametrize(
    ("is_error", "line", "expected"),
    [
        (of_the_api, json.dumps({"level": "error", "event": "request_failed"}), True),
        (of_the_api, json.dumps({"level": "warning", "event": "redis_away"}), False),
        (of_the_api, "Traceback (most recent call last):", True),
        (of_the_api, "7", True),
        (of_the_api, "", False),
        (of_postgres, "2026-11-22 12:00:00 UTC [7] api@ratelimiter ERROR:  permission denied", True),
        (of_postgres, "2026-11-22 12:00:00 UTC [7] @ LOG:  checkpoint complete", False),
        (of_redis, "7:M 22 Nov 2026 12:00:00.000 # Error writing to the AOF file", True),
        (of_redis, "7:M 22 Nov 2026 12:00:00.000 # WARNING Memory overcommit … may fail", False),
        (of_redis, "7:M 22 Nov 2026 12:00:00.000 * Ready to accept connections", False),
    ],
)
def test_what_is_a_line_of_error(is_error, line, expected):
    assert bool(is_error(line)) is expected


def test_each_line_is_read_once_though_the_log_begins_anew(tmp_path):
    path = tmp_path / "server.log"
    log = Log(path, lambda line: "bad" in line)
    assert log.new_errors() == []
    path.write_text("1 begun\n2 bad\n3 not whole, bad")
    assert log.new_errors() == ["2 bad"]
    path.write_text("1 begun\n2 bad\n3 not whole, bad yet\n")
    path.rename(tmp_path / "server.log.1")
    path.write_text("4 begun\n5 bad\n")
    assert log.new_errors() == ["3 not whole, bad yet", "5 bad"]
    assert log.new_errors() == []


def test_a_fault_explains_its_own_lines_only():
    line = "… FATAL:  too many connections for database ratelimiter"
    explained, unexplained = judged([line, "another"], "PostgreSQL failed over")
    assert (explained.total(), unexplained) == (1, ["another"])
    assert judged([line], "Redis killed") == ({}, [line])

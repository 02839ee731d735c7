"""The bench's arithmetic: what it reads, what it makes of it, and when it fails. Measures nothing."""

import json

import pytest
from typer.testing import CliRunner

from bench import check, load, targets
from bench.__main__ import app
from bench.contestant import Sample
from bench.errors import BenchError
from bench.load import LIMITED, OK, Load
from bench.open_loop import is_whole
from bench.processes import Cpu
from bench.ratios import median_ratio, percentile, ratios
from bench.targets import Line

WRK = """\
Running 2s test @ http://127.0.0.1:8000
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.23ms  310.00us  12.01ms   95.12%
  4000 requests in 2.01s, 1.00MB read
Requests/sec:   2000.00
result: {"requests": 4000, "duration_us": 2000000, "refused": 3, "broken": 1, "p50_us": 1230, "p99_us": 310}
"""


def test_wrk_is_read_in_exact_numbers_and_one_unit():
    result = load.parse(WRK)
    assert result == Load(requests=4000, seconds=2.0, refused=3, broken=1, p50_ms=1.23, p99_ms=0.31)
    assert result.requests_per_second == 2000


def test_wrk_without_a_result_is_an_error():
    with pytest.raises(BenchError, match="no result"):
        load.parse("unable to connect to 127.0.0.1:1")


@pytest.mark.parametrize(
    ("status", "refused", "broken", "requests", "complaint"),
    [
        (OK, 0, 0, 100, None),
        (OK, 1, 0, 100, "1 of 100 answers"),
        (OK, 0, 1, 100, "1 of 100 requests had no answer"),
        (OK, 0, 0, 0, "no request"),
        (LIMITED, 100, 0, 100, None),
        (LIMITED, 99, 0, 100, "99 of 100 answers"),
    ],
)
def test_a_run_counts_only_with_the_expected_answers(status, refused, broken, requests, complaint):
    result = Load(requests, 1.0, refused, broken, 1.0, 2.0)
    if complaint is None:
        load.require_expected(result, status, "who")
    else:
        with pytest.raises(BenchError, match=complaint):
            load.require_expected(result, status, "who")


def test_the_script_sends_each_key_and_the_body():
    script = load.script(["key-1", "key-2"], '{"cost": 1}')
    assert '{ "key-1", "key-2" }' in script
    assert json.dumps('{"cost": 1}') in script
    assert '"POST", "/api/request"' in script


def test_ratios_pair_by_round_before_the_median():
    # The machine was half as fast in the second round: that is no difference between the two.
    assert ratios([200, 100, 210], [100, 50, 100]) == [2.0, 2.0, 2.1]
    assert median_ratio([200, 100, 210], [100, 50, 100]) == 2.0


@pytest.mark.parametrize(("ours", "theirs"), [([1.0], [1.0, 2.0]), ([], [])])
def test_rounds_that_do_not_pair_are_an_error(ours, theirs):
    with pytest.raises(BenchError, match="do not pair"):
        ratios(ours, theirs)


def test_percentile_is_the_nearest_rank():
    values = list(range(1, 101))
    assert [percentile(values, share) for share in (0.5, 0.99, 1.0)] == [50, 99, 100]
    assert percentile([7.0], 0.99) == 7.0
    assert percentile([], 0.99) == 0.0


def test_cpu_is_counted_per_request():
    used = Cpu(worker=3.0, drain=1.0, redis=0.5, postgres=0.25) - Cpu(1.0, 0.5, 0.25, 0.0)
    assert used.per_request_us(1000) == Cpu(2000.0, 500.0, 250.0, 250.0)


@pytest.mark.parametrize(
    ("value", "target", "at_most", "met"),
    [
        (1.8, 1.8, False, True),
        (1.79, 1.8, False, False),
        (130, 130, True, True),
        (131, 130, True, False),
        (5.0, None, False, None),
    ],
)
def test_a_line_knows_whether_its_target_is_met(value, target, at_most, met):
    assert Line("line", value, target, at_most).met is met


def test_speed_counts_more_requests_and_less_cpu_as_better():
    speed, cpu = targets.speed_lines(
        "a ÷ b", [sample(200, 50).as_json()], [sample(100, 200).as_json()], 2, "32"
    )
    assert (speed.value, cpu.value) == (2.0, 4.0)
    assert speed.column != cpu.column


def test_the_revocation_line_has_its_target():
    lines = targets.lines({"revocation": {"p50_ms": 8, "p99_ms": 101, "max_ms": 120}})
    assert [(line.value, line.met) for line in lines] == [(101, False), (8, None), (120, None)]


@pytest.mark.parametrize(("ours", "code"), [(140, 0), (130, 0), (129, 1)])
def test_the_check_fails_below_its_ratio(ours, code, monkeypatch):
    rounds = check.verdict([sample(ours, 10)] * 3, [sample(100, 10)] * 3)
    assert check.exit_code(rounds) == code
    monkeypatch.setattr("bench.load.shutil.which", lambda _: "/usr/bin/wrk")
    monkeypatch.setattr(check, "measure", lambda *_: rounds)
    result = CliRunner().invoke(app, ["check"])
    assert result.exit_code == code
    assert ("has become slow" in result.output) == (code == 1)


def test_a_missing_wrk_is_one_line(monkeypatch):
    monkeypatch.setattr("bench.load.shutil.which", lambda _: None)
    result = CliRunner().invoke(app, ["check"])
    assert result.exit_code == 1
    assert "apt-get install wrk" in result.output


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-len", False),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{", False),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
    ],
)
def test_the_open_loop_waits_for_whole_answers(data, whole):
    assert is_whole(data) is whole


def sample(requests_per_second, worker_us):
    return Sample(Load(requests_per_second, 1.0, 0, 0, 1.0, 2.0), Cpu(worker=worker_us), 0.0)

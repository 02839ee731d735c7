"""load_test.py against transports that answer as told; tests/e2e runs it against the platform."""

import asyncio
import time

import httpx
import pytest
import typer
from typer.testing import CliRunner

import load_test

SLOW_SECONDS = 0.05


def send(load, answer):
    async def measured():
        transport = httpx.MockTransport(answer)
        async with httpx.AsyncClient(base_url="http://api", transport=transport) as client:
            return await load_test.run(client, load, lambda: None)

    return asyncio.run(measured())


def load(**changes):
    values = {"requests": 10, "rate": 1000.0, "concurrency": 5, "body": {}}
    return load_test.Load(**{**values, **changes})


def cli(*arguments, **environment):
    app = typer.Typer(add_completion=False)
    app.command()(load_test.main)
    unset = {"API_URL": None, "API_KEY": None}
    return CliRunner().invoke(app, arguments, env={**unset, **environment})


def test_answers_are_counted_by_status():
    statuses = iter([200] * 7 + [429] * 3)
    report = send(load(), lambda _: httpx.Response(next(statuses)))
    assert report.answers == {"200": 7, "429": 3}
    assert report.as_expected


@pytest.mark.parametrize("status", [403, 500, 503])
def test_any_other_answer_is_not_as_expected(status):
    assert not send(load(), lambda _: httpx.Response(status)).as_expected


def test_a_request_without_an_answer_is_counted_by_its_cause_and_has_no_latency():
    def broken(_):
        raise httpx.ReadError("gone")

    report = send(load(), broken)
    assert report.answers == {"ReadError": 10}
    assert not report.as_expected
    assert report.percentiles_ms() == {}


def test_the_rate_is_kept_whatever_the_answers_take():
    started = time.perf_counter()
    arrivals = []

    async def slow(_):
        arrivals.append(time.perf_counter() - started)
        await asyncio.sleep(SLOW_SECONDS)
        return httpx.Response(200)

    report = send(load(requests=10, rate=100.0, concurrency=10), slow)
    assert arrivals[-1] >= 0.09
    assert report.rate <= 100.0


def test_no_more_than_concurrency_are_in_flight_and_waiting_counts_as_latency():
    in_flight = most = 0

    async def slow(_):
        nonlocal in_flight, most
        in_flight += 1
        most = max(most, in_flight)
        await asyncio.sleep(SLOW_SECONDS)
        in_flight -= 1
        return httpx.Response(200)

    report = send(load(requests=6, concurrency=2), slow)
    assert most == 2
    # The last pair was planned at once and had to wait for two pairs before it.
    assert max(report.latencies_seconds) >= 2.9 * SLOW_SECONDS


def test_percentiles_of_one_answer_are_that_answer():
    report = load_test.Report(latencies_seconds=[0.002])
    assert report.percentiles_ms() == pytest.approx({"p50": 2.0, "p95": 2.0, "p99": 2.0})


def test_without_a_key_it_says_where_to_get_one(tmp_path):
    result = cli(LOCAL_DIR=str(tmp_path))
    assert result.exit_code == 1
    assert "make run" in result.stderr


def test_a_service_that_is_not_there_is_one_line_without_the_key():
    result = cli("--url", "http://127.0.0.1:1", API_KEY="rlk_live_secret")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "secret" not in result.output


def test_a_key_that_no_header_can_carry_is_refused_without_being_shown():
    result = cli("--url", "http://127.0.0.1:1", API_KEY="rlk_live_\nsecret")
    assert result.exit_code == 1
    assert "secret" not in result.output


def test_the_key_comes_from_the_local_environment(tmp_path):
    (tmp_path / "env").write_text("API_URL=http://127.0.0.1:1\nDEMO_API_KEY='rlk_live_secret'\n")
    result = cli(LOCAL_DIR=str(tmp_path))
    assert "http://127.0.0.1:1 cannot be reached" in result.stderr
    assert "secret" not in result.output

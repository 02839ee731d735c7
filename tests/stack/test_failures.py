"""Parts are stopped, killed and made anew under load: no decision is lost, and everything comes back."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain, cycle, repeat, takewhile
from threading import Event

import httpx
import pytest

from tests.stack.stack import docker
from tests.waiting import wait_for

pytestmark = pytest.mark.slow

POOR_KEYS = 1000


@contextmanager
def load(stack, keys):
    """Spend these keys while the block runs; yields a dictionary that has the answers after it."""
    done, answers = Event(), Counter()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(stack.load, takewhile(lambda _: not done.is_set(), keys))
        try:
            yield answers
        finally:
            done.set()
            answers.update(running.result())


def decisions_grow(stack, by):
    """Wait until the log has so many decisions more."""
    before = stack.rows().total()
    wait_for(lambda: stack.rows().total() >= before + by, seconds=30)


def new_rows(stack, before):
    return stack.rows() - before


@pytest.fixture
def settled(stack):
    """The log's rows, once those of the tests before have all arrived."""

    def backlog():
        return httpx.get(f"{stack.api_url}/health", trust_env=False).json()["checks"]["request_log"][
            "backlog"
        ]

    wait_for(lambda: backlog() == 0)
    return stack.rows()


def test_a_killed_api_loses_no_decision_that_it_answered(stack, settled):
    [rich] = stack.make_keys(1, burst=1_000_000, requests_per_hour=1_000_000)
    # Each is denied once: Redis does that, and records it. Further denials would come from the memory of the
    # worker, and the last of those go with it when it is killed (README, "Known limits").
    poor = stack.make_keys(POOR_KEYS, burst=1)
    keys = (key for each in poor for key in (rich, each, each))
    with load(stack, chain(keys, repeat(rich))) as answers:
        decisions_grow(stack, by=100)
        docker("kill", stack.container("fastapi"))
        stack.start("fastapi")
        decisions_grow(stack, by=100)
    assert answers[200] > 100
    assert answers[429] > 50
    # A decision may have been recorded whose answer the kill cut off.
    cut_off = sum(count for status, count in answers.items() if status not in {200, 429})
    wait_for(lambda: answers[200] <= new_rows(stack, settled)[200] <= answers[200] + cut_off, 30)
    wait_for(lambda: answers[429] <= new_rows(stack, settled)[429] <= answers[429] + cut_off, 30)


def test_a_stopped_api_ends_within_ten_seconds_and_loses_nothing(stack, settled):
    keys = stack.make_keys(1, burst=1_000_000, requests_per_hour=1_000_000)
    keys += stack.make_keys(1, burst=50, requests_per_hour=3600)
    with load(stack, cycle(keys)) as answers:
        decisions_grow(stack, by=200)
        started = time.monotonic()
        stack.compose("stop", "fastapi")
        seconds = time.monotonic() - started
        state = stack.inspect("fastapi")["State"]
        stack.start("fastapi")
        decisions_grow(stack, by=100)
    assert seconds < 10
    assert (state["ExitCode"], state["OOMKilled"]) == (0, False)
    assert answers[200] > 100
    assert answers[429] > 100
    assert set(answers) <= {200, 429, 503}
    wait_for(lambda: new_rows(stack, settled) == Counter({200: answers[200], 429: answers[429]}), 30)


def test_without_the_api_nginx_answers_in_its_form(stack):
    stack.compose("stop", "fastapi")
    try:
        answer = stack.spend("any")
    finally:
        stack.start("fastapi")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:ratelimiter:problem:unavailable"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_redis_that_is_away_is_noticed_and_comes_back(stack):
    [key] = stack.make_keys(1, burst=1000)

    def health():
        answer = httpx.get(f"{stack.url}/health", trust_env=False)
        return answer.status_code, answer.json()["status"]

    def alerting():
        alerts = stack.prometheus("alerts")["alerts"]
        return {alert["state"] for alert in alerts if alert["labels"]["alertname"] == "RedisDown"}

    wait_for(lambda: health() == (200, "ok"))
    assert stack.spend(key).status_code == 200
    stack.compose("stop", "redis")
    try:
        wait_for(lambda: health() == (200, "degraded"))
        answer = stack.spend(key)
        assert (answer.status_code, answer.headers["x-ratelimit-mode"]) == (200, "local")
        wait_for(alerting, seconds=60)
        assert stack.is_healthy("fastapi"), "it lives, and nobody need restart it"
    finally:
        stack.start("redis")
    wait_for(lambda: health() == (200, "ok"))
    wait_for(lambda: stack.spend(key).status_code == 200)
    wait_for(lambda: not alerting(), seconds=60)


def test_down_and_up_keep_keys_and_rows(stack, settled, site):
    [key] = stack.make_keys(1, burst=10)
    assert [stack.spend(key).status_code for _ in range(4)] == [200] * 4
    wait_for(lambda: new_rows(stack, settled)[200] == 4)
    stack.down()
    stack.up()
    assert stack.spend(key).json()["remaining"] == 5, "the bucket is as full as it was"
    wait_for(lambda: new_rows(stack, settled)[200] == 5)
    assert "Log out" in site.get("/admin/"), "the session lasts"

"""Prometheus beside the whole platform: every expression has an answer, and an outage is noticed."""

import os
import re
import signal
import socket
import subprocess
import sys
from urllib.parse import quote

import httpx
import pytest
import redis

from local import environment
from local.ports import free_port
from tests.servers import PROJECT
from tests.waiting import wait_for
from tests.watch.expressions import Expression, of_dashboards, of_rules, problems
from tests.watch.users import Users

pytestmark = pytest.mark.timeout(240)

EXPRESSIONS = [*of_rules(PROJECT), *of_dashboards(PROJECT)]


def get(prometheus_url, what):
    return httpx.get(f"{prometheus_url}/api/v1/{what}", trust_env=False).json()["data"]


def healths(prometheus_url):
    targets = get(prometheus_url, "targets")["activeTargets"]
    return {target["labels"]["job"]: target["health"] for target in targets}


def alerts(prometheus_url, state):
    return {
        alert["labels"]["alertname"]
        for alert in get(prometheus_url, "alerts")["alerts"]
        if alert["state"] == state
    }


def test_every_expression_of_the_rules_and_dashboards_has_an_answer(run, prometheus):
    with Users(run.values) as users:
        unanswered = EXPRESSIONS

        def all_answered():
            # A rate needs two points, and a recorded series those of what it is made of: more work, then.
            nonlocal unanswered
            users.work()
            return not (unanswered := problems(prometheus.url, EXPRESSIONS))

        try:
            wait_for(all_answered, seconds=60)
        except AssertionError:
            pytest.fail("\n".join(unanswered))
    assert healths(prometheus.url) == dict.fromkeys(("api", "admin", "notices", "prometheus"), "up")
    assert alerts(prometheus.url, "firing") == set()
    rules = [rule for group in get(prometheus.url, "rules")["groups"] for rule in group["rules"]]
    assert {rule["health"] for rule in rules} == {"ok"}

    mistakes = [
        Expression("renamed", "rate(no_such_metric_total[1m]) or vector(0)"),
        Expression("label", 'sum(rate_limit_decisions_total{outcome="denied"}) or vector(0)'),
        Expression("nothing", "vector(1) > 2"),
        Expression("syntax", "sum(", is_answered=False),
    ]
    found = problems(prometheus.url, mistakes)
    assert [line.split(":")[0] for line in found] == ["renamed", "label", "nothing", "syntax"]


def test_a_full_redis_is_alerted_and_said_to_be_full(run, prometheus):
    with Users(run.values) as users, redis.Redis.from_url(run.values["REDIS_URL"]) as client:
        users.work()
        client.config_set("maxmemory", client.info("memory")["used_memory"])

        def all_pending():
            assert users.ask(users.pro) == 200
            expected = {"RedisDown", "RedisFull", "DecisionsWithoutRedis"}
            return expected <= alerts(prometheus.url, "pending")

        wait_for(all_pending, seconds=60)
    why = 'topk(1, increase(rate_limit_redis_failures_total{job="api"}[1m]))'
    [sample] = get(prometheus.url, f"query?query={quote(why)}")["result"]
    assert sample["metric"]["reason"] == "full"


def start_watch(state, output, **variables):
    with output.open("w") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "local", "watch"],
            cwd=PROJECT,
            env=os.environ | {"LOCAL_DIR": str(state)} | variables,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def test_make_watch_watches_a_run_outlives_it_and_leaves_nothing(folder, run):
    output, port = folder / "watch.out", str(free_port())
    watch = start_watch(run.state, output, PROMETHEUS_PORT=port)
    try:
        wait_for(lambda: "Ctrl-C stops it" in output.read_text() or watch.poll() is not None, seconds=60)
        url = f"http://127.0.0.1:{port}"
        pages = re.findall(r"(?:Targets|Alerts) +(\S+)", output.read_text())
        assert [httpx.get(page, trust_env=False).status_code for page in pages] == [200, 200]
        wait_for(
            lambda: healths(url) == dict.fromkeys(("api", "admin", "notices", "prometheus"), "up"), seconds=60
        )
        run.end()
        wait_for(lambda: "ApiDown" in alerts(url, "pending"), seconds=60)
    finally:
        watch.send_signal(signal.SIGINT)
        code = watch.wait(30)
    assert code == 0, output.read_text()
    with pytest.raises(httpx.ConnectError):
        healths(url)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "Error: No platform is running on {state}; start it first: make run"),
        ({"PATH": "/nowhere"}, "Error: Prometheus is not on the PATH; install it: apt install prometheus,"),
    ],
)
def test_what_is_missing_is_one_clear_line(folder, variables, message):
    state, output = folder / "state", folder / "watch.out"
    assert start_watch(state, output, **variables).wait(30) == 1
    assert output.read_text().startswith(message.format(state=state))
    assert output.read_text().count("\n") == 1
    assert not state.exists()


def test_a_port_in_use_is_named_with_its_variable(folder, run):
    output = folder / "watch.out"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert start_watch(run.state, output, PROMETHEUS_PORT=port).wait(30) == 1
    message = f"Error: Port {port} is in use; choose another one: PROMETHEUS_PORT=<port> make watch\n"
    assert output.read_text() == message


def test_an_address_that_is_no_longer_served_is_no_platform(folder):
    state, output = folder / "state", folder / "watch.out"
    state.mkdir()
    url = f"http://127.0.0.1:{free_port()}"
    environment.save(state / "env", {"API_URL": url, "ADMIN_URL": url})
    assert start_watch(state, output).wait(30) == 1
    assert f"No platform is running on {state}" in output.read_text()

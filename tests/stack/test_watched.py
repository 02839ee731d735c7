"""Prometheus in its container has an answer to all that the rules, alerts and dashboards ask."""

import time

import pytest

from tests.servers import PROJECT
from tests.watch.expressions import of_dashboards, of_rules, problems
from tests.watch.users import Users

EXPRESSIONS = [*of_rules(PROJECT), *of_dashboards(PROJECT)]
WITHIN_SECONDS = 240
"""Prometheus asks four times a minute, and some of the rules look back over minutes."""


def test_every_expression_has_an_answer(stack):
    values = {
        "API_URL": stack.api_url,
        "ADMIN_URL": stack.url,
        "ADMIN_API_TOKEN": stack.values["ADMIN_API_TOKEN"],
    }
    deadline = time.monotonic() + WITHIN_SECONDS
    with Users(values) as users:
        unanswered = ["nothing was asked"]
        while unanswered and time.monotonic() < deadline:
            users.work()
            time.sleep(2)
            unanswered = problems(stack.prometheus_url, EXPRESSIONS)
    assert not unanswered, "\n".join(unanswered)
    up = {one["metric"]["job"]: one["value"][1] for one in stack.prometheus_query("up")}
    assert up == {"api": "1", "admin": "1", "notices": "1", "prometheus": "1"}


def test_prometheus_has_loaded_every_alert(stack):
    groups = stack.prometheus("rules", type="alert")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == (PROJECT / "prometheus" / "alerts.yml").read_text().count("- alert:")
    if any(rule["health"] == "err" for rule in rules):
        pytest.fail(str(rules))

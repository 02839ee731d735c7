"""The configuration and the rules, as promtool sees them, and as the documents and the code repeat them."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from local.prometheus import RULE_FILES, SCRAPE_SECONDS, Prometheus
from ratelimiter.api.health import MAX_LAG_SECONDS
from tests.servers import PROJECT

RUNBOOKS = (PROJECT / "DEPLOYMENT.md").read_text(encoding="utf-8")
TESTS = sorted((PROJECT / "prometheus" / "tests").glob("*.yml"))
CONFIGURATION = yaml.safe_load((PROJECT / "prometheus.yml").read_text(encoding="utf-8"))
ALERTS = {
    rule["alert"]: rule
    for path in RULE_FILES
    for group in yaml.safe_load((PROJECT / path).read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
    if "alert" in rule
}


def promtool(*arguments):
    done = subprocess.run(
        ["promtool", *arguments],  # noqa: S607 -- of whichever Prometheus is on the PATH
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_configuration_and_the_rules_are_valid():
    promtool("check", "config", "prometheus.yml")
    promtool("check", "rules", "--lint-fatal", *RULE_FILES)


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_rules_and_alerts_do_what_they_say(path):
    promtool("test", "rules", str(path))


def expectations(alert):
    """What the tests expect of an alert: a list of alerts that fire, for each moment."""
    for path in TESTS:
        for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            for moment in test.get("alert_rule_test", ()):
                if moment["alertname"] == alert:
                    yield moment["exp_alerts"]


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_is_seen_to_fire_and_to_stay_quiet(alert):
    assert {bool(expected) for expected in expectations(alert)} == {True, False}


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_says_how_urgent_it_is_and_what_to_do(alert):
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    # GitHub's anchor of the heading "### Runbook: RedisDown".
    assert rule["annotations"]["runbook_url"] == f"DEPLOYMENT.md#runbook-{alert.lower()}"
    assert f"\n### Runbook: {alert}\n" in RUNBOOKS


def test_every_runbook_has_its_alert():
    assert set(re.findall(r"^### Runbook: (\w+)$", RUNBOOKS, re.MULTILINE)) == set(ALERTS)


def test_a_log_that_lags_for_an_alert_lags_for_health():
    assert ALERTS["RequestLogBacklogGrowing"]["expr"] == f"request_log_lag_seconds > {MAX_LAG_SECONDS:.0f}"


def test_the_local_prometheus_has_the_same_jobs_rules_and_interval():
    admin = "http://django:8001"
    targets = {"api": "http://fastapi:8000", "admin": admin, "notices": f"{admin}/metrics/notices"}
    local = Prometheus(Path("unused"), PROJECT, targets).configuration(9090)
    assert CONFIGURATION["global"]["scrape_interval"] == f"{SCRAPE_SECONDS}s"
    assert local["global"] == CONFIGURATION["global"]
    assert local["rule_files"] == [str(PROJECT / path) for path in CONFIGURATION["rule_files"]]

    def without_hosts(configuration):
        return re.sub(r"(127\.0\.0\.1|localhost)", "here", str(configuration["scrape_configs"]))

    assert without_hosts(local) == without_hosts(CONFIGURATION)

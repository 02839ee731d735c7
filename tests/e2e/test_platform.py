"""A stranger's walk: issue a key in the admin site, use it up, see the rows, revoke it, be refused."""

import asyncio
import json
import os
import re
import ssl
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.servers import PROJECT, execute

pytestmark = pytest.mark.timeout(240)

WITHIN_A_SECOND = 1.0


def spend(api, key, **body):
    return api.post("/api/request", headers={"X-API-Key": key}, json=body)


def rows(platform, key_id):
    """What the log holds of a key: rows by status code."""
    by_status = "SELECT status_code, sum(count) FROM request_log WHERE api_key_id = %s GROUP BY 1"
    return dict(execute(platform["DATABASE_URL"], by_status, key_id))


def eventually(value, expected, within_seconds=10.0):
    deadline = time.monotonic() + within_seconds
    while (seen := value()) != expected:
        assert time.monotonic() < deadline, seen
        time.sleep(0.02)


def test_the_walk(platform, site, api):
    key_id, key = site.issue("walk", burst="5", requests_per_hour="5")
    assert key not in site.get(f"/admin/api_manager/apikey/{key_id}/change/"), "a key is shown once"

    statuses = [spend(api, key, endpoint="/v1/walk").status_code for _ in range(7)]
    assert statuses == [200] * 5 + [429] * 2
    eventually(lambda: rows(platform, key_id), {200: 5, 429: 2})

    log = site.get("/admin/api_manager/requestlog/", api_key=key_id)
    table = re.search(r'<table id="result_list".*?</table>', log, re.DOTALL)[0]
    assert Counter(re.findall(r'class="status status-(\d+)"', table)) == {"200": 5, "429": 2}
    assert "/v1/walk" in table

    answer = site.post(f"/admin/api_manager/apikey/revoke/?id={key_id}", confirm="yes")
    assert answer.status_code in {200, 302}
    revoked = time.monotonic()
    eventually(lambda: spend(api, key).status_code, 403)
    assert time.monotonic() - revoked < WITHIN_A_SECOND


def test_the_page_of_a_key_shows_its_bucket_as_the_api_knows_it(platform, site, api):
    key_id, key = site.issue("bucket", burst="7", requests_per_hour="60")
    page = f"/admin/api_manager/apikey/{key_id}"
    eventually(lambda: "The bucket is full." in site.get(f"{page}/bucket/"), expected=True)
    assert [spend(api, key).status_code for _ in range(3)] == [200] * 3
    full_again = re.compile(r'max="7" value="4".*Full again in (2 min \d+ s|3 min),', re.DOTALL)
    eventually(lambda: bool(full_again.search(site.get(f"{page}/bucket/"))), expected=True)
    assert platform["API_TOKEN"] not in site.get(f"{page}/bucket/")
    eventually(lambda: site.get(f"{page}/change/").count('data-label="Endpoint"'), 3)


def test_an_edit_in_the_admin_reaches_every_worker_within_a_second(platform, site, api):
    key_id, key = site.issue("edited")
    # To load the certificates for each client would take most of the time that is measured.
    trusted = ssl.create_default_context()
    with httpx.Client(base_url=platform["API_URL"], trust_env=False) as other:
        clients = [api, other]  # two connections, which the two workers share out
        for client in clients * 4:
            assert spend(client, key).json()["tier"] == "free"
        fields = {"name": "edited", "tier": site.tier_id("pro"), "is_active": "on"}
        fields |= {"limits-TOTAL_FORMS": "0", "limits-INITIAL_FORMS": "0"}
        answer = site.post(f"/admin/api_manager/apikey/{key_id}/change/", **fields)
        assert answer.status_code == 302, answer.text
        edited = time.monotonic()

        def tiers():
            answers = []
            for _ in range(6):
                with httpx.Client(base_url=platform["API_URL"], trust_env=False, verify=trusted) as fresh:
                    answers.append(spend(fresh, key).json()["tier"])
            return set(answers)

        eventually(tiers, {"pro"})
        assert time.monotonic() - edited < WITHIN_A_SECOND


async def test_two_hundred_clients_of_two_workers_are_admitted_exactly_the_burst(platform, site):
    key_id, key = site.issue("crowd", burst="120", requests_per_hour="1")
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=0)
    async with httpx.AsyncClient(
        base_url=platform["API_URL"], trust_env=False, limits=limits, timeout=60
    ) as http:
        answers = await asyncio.gather(
            *(http.post("/api/request", headers={"X-API-Key": key}) for _ in range(200))
        )
    assert Counter(answer.status_code for answer in answers) == {200: 120, 429: 80}
    eventually(lambda: rows(platform, key_id), {200: 120, 429: 80})


def test_the_metrics_are_those_of_both_workers(platform, site, api):
    def decisions():
        text = api.get("/metrics").text
        return sum(
            float(value)
            for value in re.findall(
                r'^rate_limit_decisions_total\{.*tier="enterprise".*\} (\S+)$', text, re.MULTILINE
            )
        )

    _, key = site.issue("counted", tier=site.tier_id("enterprise"))
    before = decisions()
    for _ in range(40):
        with httpx.Client(base_url=platform["API_URL"], trust_env=False) as fresh:
            assert spend(fresh, key).status_code == 200
    assert {decisions() - before for _ in range(6)} == {40.0}, "whichever worker answers"
    text = api.get("/metrics").text
    assert "\nredis_up 1.0" in text
    assert re.search(r"^process_resident_memory_bytes [1-9]", text, re.MULTILINE)
    assert "\nrequest_log_written_total" in text


def test_a_management_call_is_one_json_line_with_its_request_id(platform, api):
    sent = {"Authorization": f"Bearer {platform['ADMIN_API_TOKEN']}", "X-Request-ID": "e2e-request-1"}
    issued = api.post("/api/keys", json={"name": "logged"}, headers=sent)
    assert issued.headers["x-request-id"] == "e2e-request-1"
    api.get("/api/keys/0", headers=sent | {"X-Request-ID": "e2e-request-2"})
    log = Path(platform["LOCAL_DIR"], "log", "api.log")

    def said(request_id):
        """What the log says of a request; its line is written after its answer is sent."""
        lines = [
            json.loads(line)
            for line in log.read_text(encoding="utf-8").splitlines(keepends=True)
            if line.endswith("\n")
        ]
        assert all({"time", "level", "event", "logger"} <= set(line) for line in lines)
        return [line for line in lines if line.get("request_id") == request_id]

    eventually(lambda: len(said("e2e-request-2")), 1)
    [created], [refused] = said("e2e-request-1"), said("e2e-request-2")
    assert (created["method"], created["route"], created["status"]) == ("POST", "/api/keys", 201)
    assert (refused["route"], refused["status"]) == ("/api/keys/{key_id}", 422)
    for secret in (issued.json()["key"], platform["ADMIN_API_TOKEN"], platform["DEMO_API_KEY"]):
        assert secret not in log.read_text(encoding="utf-8")


def test_the_load_test_with_the_demo_key(platform, api):
    hint = platform["DEMO_API_KEY"][9:13]
    environment = os.environ | {"LOCAL_DIR": platform["LOCAL_DIR"]}
    for name in ("API_URL", "API_KEY"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "load_test.py", "--requests", "150", "--rate", "50"],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"\b200\b.*\b100\b", done.stdout)
    assert re.search(r"\b429\b.*\b50\b", done.stdout)
    assert platform["DEMO_API_KEY"] not in done.stdout + done.stderr
    by_hint = "SELECT id FROM api_key WHERE hint LIKE %s"
    [(key_id,)] = execute(platform["DATABASE_URL"], by_hint, f"rlk_live_{hint}%")
    eventually(lambda: rows(platform, key_id), {200: 100, 429: 50})
    api.post(
        f"/api/keys/{key_id}/reset", headers={"Authorization": f"Bearer {platform['ADMIN_API_TOKEN']}"}
    ).raise_for_status()

"""The life of a management token, from the admin to the API; and guesses at one."""

import re
from pathlib import Path

import pytest

from tests.servers import execute

pytestmark = pytest.mark.timeout(240)

LIST = "/admin/api_manager/managementtoken/"


def secret_in(page):
    [secret] = re.findall(r"rlm_live_[0-9A-Za-z]{49}", page)
    return secret


def number_in(page):
    return int(re.search(rf"{LIST}(\d+)/change/", page)[1])


@pytest.fixture
def issue_token(site):
    def issue_token(name, *scopes):
        page = site.post(f"{LIST}add/", name=name, scopes=[*scopes])
        assert page.status_code == 200, page.text
        assert "no-store" in page.headers["cache-control"]
        return number_in(page.text), secret_in(page.text)

    return issue_token


def call(api, secret, method="GET", path="/api/keys", **options):
    headers = {"Authorization": f"Bearer {secret}"} | options.pop("headers", {})
    return api.request(method, path, headers=headers, **options)


def test_the_life_of_a_token(platform, site, api, issue_token):
    number, secret = issue_token("inventory", "keys:read", "keys:write")
    issued = call(api, secret, "POST", json={"name": "by token"})
    assert issued.status_code == 201
    key_id = issued.json()["id"]
    assert execute(
        platform["DATABASE_URL"],
        "SELECT actor FROM audit_event WHERE (target_type, target_id) = ('key', %s)",
        key_id,
    ) == [("api:inventory",)]
    row = re.search(r"<tr(?:(?!</tr>).)*inventory.*?</tr>", site.get(LIST), re.DOTALL)[0]
    assert "field-last_used" in row
    assert "never" not in row

    _, reader = issue_token("dashboard", "keys:read")
    assert call(api, reader).status_code == 200
    refused = call(api, reader, "DELETE", f"/api/keys/{key_id}")
    assert (refused.status_code, refused.json()["scope"]) == (403, "keys:write")

    rotated = site.post(f"{LIST}{number}/rotate/", grace_minutes="10").text
    successor = secret_in(rotated)
    assert call(api, secret).status_code == call(api, successor).status_code == 200, "within the grace"
    site.post(f"{LIST}revoke/?id={number}")
    assert (call(api, secret).status_code, call(api, successor).status_code) == (401, 200)
    site.post(f"{LIST}revoke/?id={number_in(rotated.split('facts', 1)[1])}")
    assert call(api, successor).status_code == 401

    events = execute(
        platform["DATABASE_URL"],
        "SELECT action FROM audit_event WHERE target_type = 'token' AND actor LIKE 'admin:%%'"
        " AND (target_id = %s OR detail ->> 'replaces' = %s::text) ORDER BY id",
        number,
        number,
    )
    assert [action for (action,) in events] == ["created", "created", "rotated", "revoked"]
    log = Path(platform["LOCAL_DIR"], "log")
    for path in log.glob("*.log"):
        text = path.read_text(encoding="utf-8")
        assert not [each for each in (secret, reader, successor) if each in text], path


def test_guesses_are_throttled_at_both_workers_and_harm_nobody_else(platform, api, issue_token):
    _, secret = issue_token("bystander", "keys:read")
    guesser = {"X-Forwarded-For": "198.51.100.7"}
    statuses = [call(api, "rlm_live_guess", headers=guesser).status_code for _ in range(15)]
    assert statuses == [401] * 10 + [429] * 5
    throttled = call(api, secret, headers=guesser)
    assert throttled.status_code == 429
    assert 1 <= int(throttled.headers["retry-after"]) <= 6
    assert call(api, secret, headers={"X-Forwarded-For": "198.51.100.8"}).status_code == 200
    assert call(api, platform["ADMIN_API_TOKEN"]).status_code == 200
    counted = r'^management_token_refusals_total\{reason="throttled"\} (\S+)$'
    assert float(re.search(counted, api.get("/metrics").text, re.MULTILINE)[1]) >= 6
